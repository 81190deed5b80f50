"""Runs one server and never leaves any of its processes behind; a program of its own, started by
`keel.cli.standalone.process`.

Airflow puts its workers and tasks into process groups of their own, and a signal to one group does not reach them.
The keeper therefore adopts every orphan below it (a Linux subreaper), and ends the whole tree when it is asked to,
when the server itself ends, or when its standard input closes: which happens whatever way its parent dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from typing import NoReturn

import psutil

GRACE_SECONDS = 5.0
"""What a server gets between the request to stop and the kill; an idle part of Airflow needs one to three."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class _Stop(BaseException):
    """The keeper was asked to stop."""


def keep(command: list[str]) -> int:
    """Run ``command`` until it ends or the keeper must stop; return its exit code (negative: the signal)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _raise_stop)
    code = -signal.SIGTERM
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_keeper)
        threading.Thread(target=_stop_when_parent_is_gone, daemon=True).start()
        code = _wait(server.pid)
    except _Stop:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_all()
    return code


def _wait(pid: int) -> int:
    while True:
        ended, status = os.waitpid(-1, 0)  # also reaps the orphans adopted meanwhile
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def _end_all() -> None:
    family = psutil.Process().children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(family, timeout=GRACE_SECONDS)
    while left := psutil.Process().children(recursive=True):  # a dying process may still have forked
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=GRACE_SECONDS)


def _stop_when_parent_is_gone() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _die_with_keeper() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _raise_stop(*_: object) -> NoReturn:
    raise _Stop


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]) & 0xFF)
