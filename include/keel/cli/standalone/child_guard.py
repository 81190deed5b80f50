"""Run one server and end all of its processes with it; a program of its own, started by `process.Part`.

Airflow starts its workers and tasks in process groups of their own, so a signal to one group does not reach them all.
On Linux the guard is therefore a subreaper: it adopts every orphan below it. The guard ends the whole tree when the
server ends, when the guard receives SIGTERM, or when its standard input closes. The operating system closes that input
in whatever way the parent ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from functools import partial
from typing import NoReturn

import psutil

GRACE_SECONDS = 5.0
"""Time between the request to stop and the kill; an idle part of Airflow needs one to three seconds."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


class _Stop(BaseException):
    """The guard received SIGTERM."""


def guard(command: list[str], *, grace: float = GRACE_SECONDS) -> int:
    """Run ``command`` until it ends or the guard must stop.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    grace : float
        Seconds between the request to stop and the kill.

    Returns
    -------
    int
        Exit code of the command; negative: the signal that ended it.

    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _raise_stop)
    code = -signal.SIGTERM
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=partial(_end_with_guard, os.getpid()))
        threading.Thread(target=_stop_when_input_closes, daemon=True).start()
        code = _wait(server.pid)
    except _Stop:
        pass
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _end_descendants(grace)
    return code


def _wait(pid: int) -> int:
    while True:
        ended, status = os.waitpid(-1, 0)  # also reaps adopted orphans
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def _end_descendants(grace: float) -> None:
    descendants = psutil.Process().children(recursive=True)
    for process in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(descendants, timeout=grace)
    while remaining := psutil.Process().children(recursive=True):  # a dying process can still fork
        for process in remaining:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(remaining, timeout=grace)


def _stop_when_input_closes() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _end_with_guard(guard_pid: int) -> None:
    """Let the kernel end the server when the guard itself is killed; runs in the server before its program."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != guard_pid:  # killed before the call above took effect
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _raise_stop(*_: object) -> NoReturn:
    raise _Stop


if __name__ == "__main__":
    sys.exit(guard(sys.argv[1:]) & 0xFF)
