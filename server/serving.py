"""Running the application: one socket, waitress, a thread of its own, and an end that leaves nothing behind."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask
from waitress import create_server

from active_loop.errors import ConfigError

from .access import Access, is_loopback
from .app import BOUND, READING
from .reading import Reading
from .visit import ACCESS

_WORKERS = 4
_LONGEST_REQUEST_S = 60.0
"""Seconds that a request under way may take before the sockets go away under it."""

_LARGEST_BODY = 64 << 20
"""Bytes of a request that are taken off the wire: Label Studio sends whole tasks, images in them too."""


class Server:
    """A running server, from `serve`. A context manager: leaving it closes it."""

    def __init__(self, app: Flask, listener: socket.socket, host: str) -> None:
        self.port: int = listener.getsockname()[1]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
        self.url = f"http://[{shown}]:{self.port}" if ":" in shown else f"http://{shown}:{self.port}"
        self._reading: Reading = app.config[READING]
        self._threads: list[threading.Thread] = []
        self._open: dict[int, Any] = {}
        settings = {"sockets": [listener], "threads": 0, "ident": "", "max_request_body_size": _LARGEST_BODY}
        self._waitress = create_server(app, map=self._open, **settings)
        # Waitress forgets its threads and cannot wait for them: they are started here instead.
        self._waitress.task_dispatcher.start_new_thread = self._start_worker
        self._waitress.task_dispatcher.set_thread_count(_WORKERS)
        self._start(self._waitress.run, "dashboard")

    def close(self) -> None:
        """Finish the requests under way, close the socket and end every thread; a second call does nothing."""
        if not self._threads:
            return
        self._waitress.task_dispatcher.shutdown(timeout=_LONGEST_REQUEST_S)
        trigger = self._waitress.trigger
        with trigger.lock:  # what is pulled runs under this lock: the bell is rung before the sockets are closed
            trigger.thunks.append(self._close_sockets)
            trigger.pull_trigger()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._reading.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_worker(self, target: Callable[[int], None], number: int) -> None:
        self._start(lambda: target(number), f"dashboard-{number}")

    def _start(self, target: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _close_sockets(self) -> None:
        """In the server's own thread: once nothing is open, its loop ends."""
        for channel in list(self._open.values()):
            channel.close()


def serve(app: Flask, host: str = "127.0.0.1", port: int = 8765) -> Server:
    """Serve an app of `create_app` in a thread; `port` 0 takes a free one. Returns once it accepts connections.

    Raises `ConfigError` for a host other than loopback if the app has no token, for a port that is in use or may not
    be used, and for a host that is not an address of this machine.
    """
    access: Access = app.config[ACCESS]
    if not is_loopback(host) and not access.is_closed:
        raise ConfigError(
            f"cannot listen on {host} without a token: everybody who reaches this machine could read the loop; "
            "give a token, or listen on 127.0.0.1."
        )
    listener = _listen(host, port)
    app.config[BOUND] = host
    # A browser with many tabs is not worth a line on the terminal each time.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    return Server(app, listener, host)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} does not exist: give one from 0 (any free one) to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} is in use: give another by --port or [server] port"
        elif error.errno == errno.EACCES:
            reason = f"port {port} may not be used: give one from 1024 on by --port or [server] port"
        else:
            what = (error.strerror or str(error)).partition(" (")[0].lower()
            reason = f"cannot listen on {host}: {what}; give an address of this machine by [server] host"
        raise ConfigError(f"{reason}.") from error
