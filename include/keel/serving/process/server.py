"""One serving process: listening, signals, the end."""

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
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from keel.errors import KeelError

if TYPE_CHECKING:
    import uvicorn

    from keel.serving.service import Service
    from keel.serving.settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep an idle connection: if the server closed first, a request could be lost."""
UNREAD_SECONDS = 60
"""After which the system closes a connection whose client reads nothing of its answer."""
OWN_FILES = 256
"""File handles for other things than client connections: spool, store, registry, versions."""
BACKLOG = 2048
SWITCH_SECONDS = 5e-4
"""How long a thread may compute while others wait."""
COLLECT_OBJECTS = 10_000
"""New objects between two runs of Python's garbage collector. A batch on its way to the store is some thousands without
a cycle; the default of 700 would spend more time on collecting than on reading them."""
WAIT_SECONDS = 0.1
"""Between checks whether a worker that does not accept requests yet can answer."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CannotListen(KeelError):
    """The address cannot be used; the message names it."""

    exit_code = 3
    permanent = False


def listen(settings: Settings, *, unread_seconds: int = UNREAD_SECONDS) -> socket.socket:
    """Return a socket bound to the settings' address; connections are refused until a server listens on it.

    unread_seconds: see `UNREAD_SECONDS`.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted connections inherit it
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread_seconds * 1000)
        made.bind(address)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {settings.host}, port {settings.port} ({error.strerror or error}): another process may "
            "use it. Choose another port with --port or KEEL_SERVING_PORT"
        ) from None
    return made


def serve(settings: Settings, listener: socket.socket, *, announce: Callable[[], None] = lambda: None) -> int:
    """Serve in this process on a bound socket until a signal asks to stop.

    announce: called as soon as requests are accepted.
    """
    import uvicorn

    from keel.serving.http.app import create_app
    from keel.serving.http.connection_limits import bounded
    from keel.serving.service import Service

    # an answer passes through three threads; the default of 5 ms would be most of its latency while one computes
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(COLLECT_OBJECTS)
    service = Service(settings)
    app = create_app(settings, service=service)
    service.start()  # before the server, so that an error in it is one line
    protocol = bounded(seconds=settings.receive_seconds, connections=_allowed_connections(settings.connections))

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

    server = Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
            timeout_graceful_shutdown=max(1, round(settings.stop_seconds)),
        )
    )
    # uvicorn would raise the signal again at its end, and the exit code would be the signal's
    server.capture_signals = lambda: _stopping_by_signal(server)  # type: ignore[method-assign]
    if service.workers.several:
        wait_for_versions(service)
    server.run(sockets=[listener])
    if not service.ended:
        logging.shutdown()
        os._exit(0)  # Python would wait for a thread that is still loading a version, or fail because of it
    return 0


def _allowed_connections(wanted: int) -> int:
    """Return how many of the wanted connections may be open, so that the spool always gets its file handles."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OWN_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
    if allowed < needed:
        connections = max(16, allowed - OWN_FILES)
        log.warning(
            "at most %d connections instead of %d: a process may open only %d files", connections, wanted, allowed
        )
        return connections
    return wanted


@contextlib.contextmanager
def _stopping_by_signal(server: uvicorn.Server) -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        if server.should_exit:
            os._exit(128 + number)  # answered rows that are not stored yet stay in the spool
        log.info("stopping: finishing the requests in progress, then shipping the spool")
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield
    finally:
        # a second signal still ends the shipping that follows
        for number in before:
            signal.signal(number, lambda number, _: os._exit(128 + number))


def wait_for_versions(service: Service, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Accept no request until this worker can answer, as long as another worker can.

    A worker first publishes its status and then reads the others'. So of two workers that check at the same time, at
    least one sees the other.
    """
    workers, logged = service.workers, False
    while service.missing:
        if not workers.another_is_ready():
            workers.publish(service.missing)
            if not workers.another_is_ready():
                return
            workers.withdraw()
        if not logged:
            log.info("worker %d: the other workers answer until this one can", service.settings.worker)
        logged = True
        time.sleep(wait_seconds)


def configure_logging() -> None:
    """Log one line per event to standard error; of other packages only warnings and errors."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("keel").setLevel(logging.INFO)
