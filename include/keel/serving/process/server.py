"""The scoring service as a process: listening, signals, the end."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from keel.errors import KeelError

if TYPE_CHECKING:
    import uvicorn

    from keel.serving.service import Service
    from keel.serving.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep a connection that they do not use: who closes last does not lose a request."""
UNREAD_SECONDS = 60
"""After which the system ends a connection whose client takes nothing of an answer any more."""
OWN_FILES = 256
"""Handles for what is not a client's connection: spool, store, registry, versions."""
BACKLOG = 2048
SWITCH_SECONDS = 5e-4
"""For how long a thread may compute while others wait to."""
COLLECT_OBJECTS = 10_000
"""New containers until Python looks for cycles among them; a batch on its way to the store is some thousands and no
cycle, and looking at them every 700, as is usual, takes longer than reading them."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CannotListen(KeelError):
    """The address cannot be listened on; the message says which."""

    exit_code = 3
    permanent = False


def listen(settings: Settings) -> socket.socket:
    """Return a socket bound to the settings' address; connections are refused until a server listens on it."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; what accepts from this socket has it, too
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_SECONDS * 1000)
        made.bind(address)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {settings.host}, port {settings.port} ({error.strerror or error}): is something else "
            "there? Choose another with --port or KEEL_SERVING_PORT"
        ) from None
    return made


def serve(settings: Settings, listener: socket.socket) -> int:
    """Serve in this process on a bound socket until a signal asks to stop."""
    import uvicorn

    from keel.serving.http.app import create_app
    from keel.serving.http.connection_limits import bounded
    from keel.serving.service import Service

    # Answers pass through three threads; the usual 5 ms would be most of their latency whenever one of them computes.
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(COLLECT_OBJECTS)
    service = Service(settings)
    app = create_app(settings, service=service)
    service.start()  # before the server: what cannot start says so in one line
    protocol = bounded(seconds=settings.receive_seconds, connections=_allowed_connections(settings.connections))
    server = uvicorn.Server(
        uvicorn.Config(
            app, loop="uvloop", http=protocol, ws="none", lifespan="on", log_config=None, access_log=False,
            server_header=False, timeout_keep_alive=KEEP_ALIVE_SECONDS, backlog=BACKLOG,
            timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
        )
    )  # fmt: skip
    # uvicorn would raise the signal again when it is through, and the exit code would be the signal's.
    server.capture_signals = lambda: _stopping_by_signal(server)  # type: ignore[method-assign]
    if service.siblings.several:
        _wait_for_versions(service)
    server.run(sockets=[listener])
    if not service.ended:
        logging.shutdown()
        os._exit(0)  # Python would wait for, or trip over, a thread that is still loading a version
    return 0


def _allowed_connections(wanted: int) -> int:
    """Return how many connections may be open, of those wanted, so that the spool always gets the files it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < needed:
        found = max(16, allowed - OWN_FILES)
        log.warning("at most %d connections instead of %d: a process may have %d files open", found, wanted, allowed)
        return found
    return wanted


@contextlib.contextmanager
def _stopping_by_signal(server: uvicorn.Server) -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        if server.should_exit:
            os._exit(128 + number)  # the spool keeps what is answered and not stored yet
        log.info("stopping: finishing what is in flight, then flushing the spool")
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        # A second signal still ends the flush that follows.
        for number in before:
            signal.signal(number, lambda number, _: os._exit(128 + number))


def _wait_for_versions(service: Service) -> None:
    """Take no request, as others take them all, until this process can answer, too: each would come to it by chance.

    Whoever says to be ready says so to the others first, and looks at them then; so it is here before it takes any.
    """
    siblings, said = service.siblings, False
    while service.missing:
        if not siblings.answering():
            siblings.tell(service.missing)
            if not siblings.answering():
                return
            siblings.withdraw()
        if not said:
            log.info("worker %d: the others answer until it can, too", service.settings.worker)
        said = True
        time.sleep(0.1)


def log_plainly() -> None:
    """One line an event, on standard error; of other packages only what is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("keel").setLevel(logging.INFO)
