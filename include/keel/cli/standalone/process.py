"""Start one server as a child process under `child_guard`, with its output in a log file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from keel.cli.standalone import child_guard
from keel.errors import KeelError

LOOPBACK = "127.0.0.1"
_TAIL_LINES = 25
_STOP_SECONDS = child_guard.GRACE_SECONDS * 2 + 5
"""Longest time that the guard needs (terminate, wait, kill, wait), and a margin."""


class PartFailed(KeelError):
    """A server did not start, ended, or did not become healthy in time; the message quotes the end of its log."""

    exit_code = 3
    permanent = False


class Part:
    """A server process and all of its descendants.

    Parameters
    ----------
    name : str
        Name of the server in messages; its log is ``<name>.log`` in ``logs``.
    command : sequence of str
        Program and arguments.
    environment : mapping
        The complete environment of the process.
    logs : Path
        Folder of the log, which is appended to.

    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = logs / f"{name}.log"
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Part:
        """Start the server. Its guard leads a new session, so that Ctrl-C in a terminal reaches this process only."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(child_guard.__file__)), *self.command],
                stdin=subprocess.PIPE,  # closes when this process ends, in whatever way
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int | None:
        """Process id of the guard; None before the start."""
        return None if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the server; None while it runs."""
        return None if self._process is None else self._process.poll()

    def check(self) -> None:
        """Raise `PartFailed`, with the end of the log, if the server has ended."""
        if self.exit_code is not None:
            raise PartFailed(f"{self.name} ended with exit code {self.exit_code}; {self.quoted_log()}")

    def finish(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds for a command to end; raise `PartFailed` unless it succeeds in time."""
        assert self._process is not None, "not started"
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise PartFailed(f"{self.name} did not end within {timeout:.0f} s; {self.quoted_log()}") from None
        if code:
            raise PartFailed(f"{self.name} ended with exit code {code}; {self.quoted_log()}")

    def ask_to_stop(self) -> None:
        """Request the stop without waiting for it, so that several parts can stop at the same time."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def stop(self) -> None:
        """Stop the server with its descendants and wait until they have ended; safe to repeat."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def quoted_log(self) -> str:
        """Return the path of the log and its last lines."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if self.log.exists() else []
        quoted = "\n".join(f"  | {line}" for line in lines)
        return f"{self.log} ends with\n{quoted}" if lines else f"{self.log} is empty"


def claim_port(preferred: int) -> tuple[int, IO[str]]:
    """Return a free port on the loopback address, ``preferred`` if possible, and a claim to it.

    While the claim is open, no other caller of this function gets the port, even before a server listens on it.
    """
    for wanted in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: ignores TIME_WAIT
            probe.bind((LOOPBACK, wanted))
            port = int(probe.getsockname()[1])
            claims = Path(tempfile.gettempdir()) / f"keel-ports-{os.getuid()}"
            claims.mkdir(exist_ok=True)
            claim = (claims / str(port)).open("w")
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return port, claim
    raise PartFailed("no port is free on the loopback address")
