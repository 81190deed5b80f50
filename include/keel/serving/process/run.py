"""Runs the scoring service from the command to its end, in this process or in supervised workers."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from keel.serving.process.server import configure_logging, listen, serve
from keel.serving.process.supervisor import Supervisor

if TYPE_CHECKING:
    from keel.serving.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until a signal asks to stop, and return the exit code.

    The first SIGTERM or SIGINT stops accepting, finishes the requests in progress and ships the spool. A second one
    ends the process at once.

    Raises
    ------
    ConfigError, UnknownModel
        The configuration cannot be served.
    CannotListen, SpoolFailed
        The address or the spool's folder cannot be used.

    """
    configure_logging()
    with contextlib.closing(listen(settings)) as listener:
        host, port = listener.getsockname()[:2]
        settings = settings.model_copy(update={"port": port})
        shown_host = f"[{host}]" if ":" in host else host

        def announce() -> None:
            log.info("serving at http://%s:%d, %s", shown_host, port, _access(settings))

        if settings.workers == 1:
            return serve(settings, listener, announce=announce)
        return Supervisor(settings, listener, announce=announce).run()


def _access(settings: Settings) -> str:
    if settings.keys_file is not None:
        return f"for clients with a key in {settings.keys_file}"
    return "for any client on this machine and no other: there are no API keys (KEEL_API_KEYS_FILE)"
