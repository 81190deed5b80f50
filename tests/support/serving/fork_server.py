"""A fork server: starts ``keel serve`` as forks of one process that has already imported all its libraries.

Importing them takes four of the five seconds of processor time until a service is ready. A fork is a full process
with its own process id, files and signals, so that kills and restarts test the same as for a new process. Tests of
the command itself start a new process; see `tests.support.serving.process.Serving`.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from tests.support.paths import PROJECT

MODULE = "tests.support.serving.fork_server"
START_SECONDS = 120.0


class ForkedProcess:
    """One fork, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, server: str, command: list[str], environment: dict[str, str], log: Path, folder: Path) -> None:
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(START_SECONDS)
        self._connection.connect(server)
        request = {"command": command, "environment": environment, "log": str(log), "folder": str(folder)}
        self._connection.sendall(json.dumps(request).encode() + b"\n")
        self.pid = int(self._connection.makefile("rb", buffering=0).readline())

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the process has ended; raises TimeoutExpired."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                received = self._connection.recv(64)
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("a fork of keel serve", timeout or 0.0) from None
            self._connection.close()
            self.returncode = int(received)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to a process that runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@cache
def address() -> str:
    """Return the address of this process's fork server, which is started by the first call."""
    folder = tempfile.TemporaryDirectory(prefix="keel-fork-")
    path = f"{folder.name}/socket"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KEEL_", "MLFLOW_"))},
        "PYTHONPATH": f"{PROJECT / 'include'}:{PROJECT}",
        "PYTHONWARNINGS": "ignore",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", MODULE, path], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    atexit.register(folder.cleanup)
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    return path


def serve(path: str) -> None:
    """Fork a service for each connection, and send its process id and later its exit code; end with standard input."""
    import uvicorn  # noqa: F401
    import uvloop  # noqa: F401

    import keel.cli.main
    import keel.monitoring.performance_history
    import keel.serving.http.app
    import keel.serving.process.run  # noqa: F401
    from keel.serving.models.loaded_version import preload

    preload()
    gc.freeze()
    running: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(path)
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj == 0:
                    for pid in running:
                        os.kill(pid, signal.SIGKILL)
                    return
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    request = json.loads(connection.makefile("rb", buffering=0).readline())
                    pid = os.fork()
                    if pid == 0:
                        _run(request, [listener, connection, *running.values()])
                    running[pid] = connection
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                    connection.sendall(b"%d\n" % pid)
                else:
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    code = os.waitstatus_to_exitcode(os.waitpid(key.data, 0)[1])
                    with running.pop(key.data) as connection, contextlib.suppress(OSError):
                        connection.sendall(b"%d" % code)


def _run(request: dict[str, Any], sockets: list[socket.socket]) -> NoReturn:
    """Be the forked service, and end with its exit code."""
    code = 1
    try:
        for each in sockets:
            each.close()
        null, log = os.open(os.devnull, os.O_RDONLY), os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for old, new in ((null, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = ["keel", *request["command"]]
        from keel.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
