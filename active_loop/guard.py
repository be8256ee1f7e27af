"""A tiny parent: ends its child when whoever started it is gone.

It holds the reading end of a pipe as its standard input. When the other end closes, which the kernel does at any
death of the starter, the child gets SIGINT, and SIGKILL if it is still there after the grace period. It is run as
a file of its own, so it imports nothing of this package and starts in a few hundredths of a second.

Usage: guard.py PID_FILE GRACE_S PORT COMMAND [ARGUMENT ...]
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def process_started(pid: int) -> str | None:
    """When a process started, as text that is only ever compared; None if there is no such process.

    With the process id it names one process for good: ids are used again, start times are not. A dead process
    that nobody has waited for yet counts as gone.
    """
    if not Path("/proc/self/stat").exists():
        return _started_by_ps(pid)
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return None


def _started_by_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    state, _, started = shown.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def signal_end(pid: int) -> None:
    """Ask a process to end, if it is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM if os.name == "nt" else signal.SIGINT)


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    signal_end(child.pid)
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()


def _end_with_input(child: subprocess.Popen[bytes], grace_s: float) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    _end(child, grace_s)


def _forget(pid_file: Path, note: str) -> None:
    # The next server of the folder may have put its own note there while this one was ending.
    with contextlib.suppress(OSError):
        if pid_file.read_text() == note:
            pid_file.unlink()


def _leave(*_: object) -> None:
    sys.exit(1)


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status, or 1 when it had to be ended."""
    pid_file, grace_s, port, *command = arguments
    # A shell makes its background jobs ignore SIGINT, and a child inherits that: it must be able to hear ours.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, _leave)
    note = json.dumps({"pid": child.pid, "started": process_started(child.pid), "port": int(port)})
    try:
        draft = Path(f"{pid_file}.new")
        draft.write_text(note)
        draft.replace(pid_file)
        threading.Thread(target=_end_with_input, args=(child, float(grace_s)), daemon=True).start()
        return 0 if child.wait() == 0 else 1
    finally:
        if child.poll() is None:
            _end(child, float(grace_s))
        _forget(Path(pid_file), note)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
