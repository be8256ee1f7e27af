"""Values on the pipe between the loop and its training process, where one of the two is killed while it writes."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from active_loop.runner import _receive, _transmit

VALUE = list(range(50_000))


def sent() -> bytes:
    pipe = io.BytesIO()
    _transmit(pipe, VALUE)
    return pipe.getvalue()


def test_a_value_comes_as_it_was_sent_and_one_that_breaks_off_is_the_end() -> None:
    whole = sent()
    assert _receive(io.BytesIO(whole)) == VALUE
    for length in (0, 3, 8, 9, len(whole) // 2, len(whole) - 1):
        assert _receive(io.BytesIO(whole[:length])) is None


@pytest.mark.process
def test_a_training_process_ends_when_its_parent_was_killed_while_it_sent_a_job() -> None:
    program = "from active_loop.runner import serve; serve()"
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    child.stdin.write(sent()[:-1000])
    child.communicate(timeout=60)
    assert child.returncode == 0
