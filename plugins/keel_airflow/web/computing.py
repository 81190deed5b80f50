"""Ask the helper process, which computes what the API server must not: one question at a time, within limits.

The process starts with the first question, and ends after some idle minutes. One that takes too long is killed, and the
next question starts another. What it gets of the environment is a list: it needs neither Airflow's secrets nor those of
the scoring service and of the channels. The addresses of the store and of MLflow reach it by its input alone.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import psutil

from keel import errors as keel_errors
from keel.errors import ConfigError, KeelError
from keel_airflow.web import installation, problems
from keel_airflow.web.problems import Problem

log = logging.getLogger(__name__)

MODULE = "keel_airflow.web.helper"
MEBIBYTE = 1 << 20
IDLE_SECONDS = 600.0
START_SECONDS = 15.0
"""More for the answer of a process that has just been started, and imports MLflow."""
WAITING = 2
"""Questions that may wait for the one that is being answered. Each occupies one of Keel's threads."""
CHUNK = 1 << 16
LOOK_SECONDS = 0.1
"""Between two looks at the memory of the process."""
LONGEST_ANSWER = 64 << 20
"""Bytes of an answer: a report of thousands of columns is a few megabytes."""
SECONDS_VARIABLE, MEMORY_VARIABLE = "KEEL_WEB_SECONDS", "KEEL_WEB_MEMORY"
SECONDS, MEMORY = 30.0, 1024
"""Seconds of an answer, and MiB of resident memory, where the variables are not set."""
SHORTER = "ask about a shorter window, or send fewer rows"

NAMES = frozenset(
    {
        "HOME",
        "KEEL_HOME",
        "KEEL_MLFLOW_URL",
        "KEEL_MODELS_FOLDER",
        "LANG",
        "LD_LIBRARY_PATH",
        "NO_PROXY",
        "PATH",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "REQUESTS_CA_BUNDLE",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
    }
)
PREFIXES = ("AWS_", "AZURE_", "GOOGLE_", "HTTP_PROXY", "HTTPS_PROXY", "KEEL__", "LC_", "MLFLOW_", "PG", "SSL_CERT_")
"""Variables that the process gets: where things are, the configuration, and what opens MLflow and its artifacts."""
OWN = {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class _Ended(Exception):
    """The process has ended by itself without an answer, as an idle one does."""


class Helper:
    """A helper process and its limits.

    seconds: of an answer. starting: more for the first one, for which the process starts.
    memory: resident bytes. idle: seconds until an idle process ends.
    command: starts the process; it gets idle as an argument.
    """

    def __init__(
        self,
        *,
        seconds: float = SECONDS,
        starting: float = START_SECONDS,
        memory: int = MEMORY * MEBIBYTE,
        idle: float = IDLE_SECONDS,
        command: Sequence[str] = (sys.executable, "-m", MODULE),
    ) -> None:
        self._seconds, self._starting, self._memory = seconds, starting, memory
        self._command = [*command, str(idle)]
        self._lock, self._waiting = threading.Lock(), threading.BoundedSemaphore(1 + WAITING)
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @property
    def pid(self) -> int | None:
        """The id of the running process; None where none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def ask(self, question: str, arguments: Mapping[str, Any], body: bytes = b"") -> dict[str, Any]:
        """Return the answer to a question.

        Raises
        ------
        KeelError
            What the process raised, with the same class and message.
        Problem
            504: it took too long. 503: others ask, or the process has ended. 422: it needed too much memory.

        """
        if not self._waiting.acquire(blocking=False):
            raise _busy()
        try:
            if not self._lock.acquire(timeout=self._seconds):
                raise _busy()
            try:
                return self._answer(_framed(question, arguments, body), time.monotonic() + self._seconds)
            finally:
                self._lock.release()
        finally:
            self._waiting.release()

    def close(self) -> None:
        """End the process, if it runs. The next question starts another."""
        process, self._process = self._process, None
        if process is None or os.getpid() != self._owner:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        process.wait()

    def _answer(self, request: bytes, deadline: float) -> dict[str, Any]:
        try:
            answer = self._exchanged(request, deadline)
        except BaseException:  # an answer that nobody has read must not be that of the next question
            self.close()
            raise
        if "answer" in answer:
            return dict(answer["answer"])
        _raise(answer, self._memory)

    def _exchanged(self, request: bytes, deadline: float) -> dict[str, Any]:
        for _ in range(2):
            process, is_new = self._running()
            try:
                until = deadline + (self._starting if is_new else 0.0)
                return _exchange(process, request, until, self._memory)
            except _Ended:
                code = process.wait()
                self.close()
                if is_new or code != 0:  # not because it was idle
                    break
            except MemoryError:
                log.warning("a question needed more memory than %d bytes; the helper process is killed", self._memory)
                raise _too_large(self._memory) from None
            except TimeoutError:
                log.warning("a question took longer than %.0f s; the helper process is killed", self._seconds)
                raise Problem(
                    504,
                    "It took longer than it may",
                    f"the answer takes longer than {self._seconds:.0f} s ({SECONDS_VARIABLE}): see whether MLflow "
                    f"answers; if it does, {SHORTER}",
                ) from None
        log.error("the helper process ended with exit code %d while it computed an answer", code)
        raise Problem(
            503,
            "Not available at the moment",
            "the process that computes the answer has ended; the API server's log says more",
            retry_after=problems.RETRY_AFTER,
        )

    def _running(self) -> tuple[subprocess.Popen[bytes], bool]:
        """Return the process, and whether it was started just now."""
        from keel.workspace import PROJECT

        if self._owner != os.getpid():  # a fork of the API server must not share the process
            self._process, self._owner = None, os.getpid()
        if self._process is not None and self._process.poll() is None:
            return self._process, False
        self.close()
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment_of(os.environ),
            cwd=PROJECT,
            start_new_session=True,
        )
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
        self._process = process
        return process, True


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment the helper process gets."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in NAMES or name.upper().startswith(PREFIXES) or name.upper() in NAMES
    }
    from keel.workspace import PROJECT

    ours = [str(PROJECT / "include"), str(PROJECT / "plugins")]
    return {**kept, **OWN, "PYTHONPATH": os.pathsep.join([*ours, *filter(None, [kept.get("PYTHONPATH")])])}


_lock = threading.Lock()
_helper: Helper | None = None


def ask(question: str, arguments: Mapping[str, Any], body: bytes = b"") -> dict[str, Any]:
    """Ask the API server's helper process about its installation; see `Helper.ask`."""
    global _helper
    with _lock:
        if _helper is None:
            _helper = Helper(
                seconds=_setting(SECONDS_VARIABLE, SECONDS),
                memory=int(_setting(MEMORY_VARIABLE, MEMORY) * MEBIBYTE),
            )
            atexit.register(close)
    return _helper.ask(question, {**arguments, "installation": installation.addresses()}, body)


def close() -> None:
    """End the helper process, as the API server does when it ends."""
    if _helper is not None:
        _helper.close()


@asynccontextmanager
async def lifespan(app: object) -> AsyncIterator[None]:
    """End the helper process with the app that asks it."""
    yield
    close()


def _setting(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float(1 << 40):
        raise ConfigError(f"{variable}: {text!r} is no positive number")
    return value


def _framed(question: str, arguments: Mapping[str, Any], body: bytes) -> bytes:
    head = {"question": question, "arguments": dict(arguments), "body": len(body)}
    return json.dumps(head).encode() + b"\n" + body


def _exchange(process: subprocess.Popen[bytes], request: bytes, deadline: float, memory: int) -> dict[str, Any]:
    """Write a question, and return the answer.

    Raises
    ------
    TimeoutError
        There is none before the deadline.
    MemoryError
        The process has more resident memory than it may. A limit of the system's does not do: the SQLite driver
        reserves address space of gigabytes that it never uses.
    _Ended
        The process has ended before it answered.

    """
    assert process.stdin is not None
    assert process.stdout is not None
    to, fro = process.stdin.fileno(), process.stdout.fileno()
    left, answer = memoryview(request), bytearray()
    while not answer.endswith(b"\n"):
        poll = select.poll()
        poll.register(fro, select.POLLIN)
        if left:
            poll.register(to, select.POLLOUT)
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            raise TimeoutError
        ready = dict(poll.poll(min(left_seconds, LOOK_SECONDS) * 1_000))
        if _resident(process.pid) > memory:
            raise MemoryError
        if fro in ready:
            if not (more := os.read(fro, CHUNK)):
                raise _Ended
            answer += more
        elif to in ready:
            try:
                left = left[os.write(to, left[:CHUNK]) :]
            except BrokenPipeError:
                raise _Ended from None
        if len(answer) > LONGEST_ANSWER:
            raise ValueError("the answer of the helper process is too long")
    return dict(json.loads(answer))


def _raise(answer: Mapping[str, Any], memory: int) -> NoReturn:
    """Raise what the process could not answer."""
    if kind := answer.get("error"):
        found = getattr(keel_errors, kind, KeelError)
        error: KeelError = found.__new__(found)
        Exception.__init__(error, answer["message"])
        vars(error).update(answer["attributes"])
        raise error
    if answer.get("memory"):
        raise _too_large(memory)
    raise Problem(
        503,
        "Not available at the moment",
        "the answer could not be computed; the API server's log says why",
        retry_after=problems.RETRY_AFTER,
    )


def _resident(pid: int) -> int:
    """Return the bytes of memory that a process has; 0 where it has ended."""
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def _too_large(memory: int) -> Problem:
    return Problem(
        422,
        problems.INVALID_TITLE,
        f"the answer needs more memory than {memory // MEBIBYTE:,} MiB ({MEMORY_VARIABLE}): {SHORTER}",
        errors=[problems.entry("since", "the window has too many rows", SHORTER)],
    )


def _busy() -> Problem:
    return Problem(503, "Too many requests", "other questions are being answered", retry_after=problems.RETRY_AFTER)
