"""One server as a child of this process: started under a keeper, its output in a file, its end never left to chance."""

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

from keel.cli.standalone import child_guard as keeper
from keel.errors import KeelError

LOOPBACK = "127.0.0.1"
_TAIL_LINES = 25
_STOP_SECONDS = keeper.GRACE_SECONDS * 2 + 5
"""The keeper's own worst case (ask, wait, kill, wait) and a margin."""


class PartFailed(KeelError):
    """A server did not start, died, or did not become healthy in time; the message quotes the end of its log."""

    exit_code = 3
    permanent = False


class Part:
    """A server process and everything below it.

    Parameters
    ----------
    name : str
        How messages call it; its log is ``<name>.log`` in ``logs``.
    command, environment
        Program with arguments, and the whole environment it gets.
    logs : Path
        Folder for the log, which is appended to.

    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], logs: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = logs / f"{name}.log"
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Part:
        """Start the server; its keeper leads a session of its own, so that a terminal's Ctrl-C reaches only us."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(keeper.__file__)), *self.command],
                stdin=subprocess.PIPE,  # closes with us, however we end
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        return self

    @property
    def exit_code(self) -> int | None:
        """None while the server runs."""
        return None if self._process is None else self._process.poll()

    def check(self) -> None:
        """Raise `PartFailed` with the end of the log if the server is not running any more."""
        if self.exit_code is not None:
            raise PartFailed(f"{self.name} ended with exit code {self.exit_code}; {self.quoted_log()}")

    def finish(self, timeout: float) -> None:
        """Wait for a command that ends by itself; raise `PartFailed` unless it ends well and in time (seconds)."""
        assert self._process is not None, "not started"
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.stop()
            raise PartFailed(f"{self.name} did not end within {timeout:.0f} s; {self.quoted_log()}") from None
        if code:
            raise PartFailed(f"{self.name} ended with exit code {code}; {self.quoted_log()}")

    def ask_to_stop(self) -> None:
        """Begin to stop, without waiting, so that several parts can stop at the same time."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def stop(self) -> None:
        """Stop the server and everything below it, and wait until all of it is gone; harmless when repeated."""
        if self._process is None:
            return
        self.ask_to_stop()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def quoted_log(self) -> str:
        """Return where the log is and its last lines."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if self.log.exists() else []
        quoted = "\n".join(f"  | {line}" for line in lines)
        return f"{self.log} ends with\n{quoted}" if lines else f"{self.log} is empty"


def claim_port(preferred: int) -> tuple[int, IO[str]]:
    """Return ``preferred`` if it is free on this machine's loopback address, else any free port, and a claim to it.

    The claim keeps others who ask here from getting the same port before a server listens on it; close it at the end.
    """
    for wanted in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT does not count
            probe.bind((LOOPBACK, wanted))
            port = int(probe.getsockname()[1])
            claims = Path(tempfile.gettempdir()) / f"keel-ports-{os.getuid()}"
            claims.mkdir(exist_ok=True)
            claim = (claims / str(port)).open("w")
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return port, claim
    raise PartFailed("no free port on the loopback address")
