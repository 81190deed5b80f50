"""The scoring service from the command to its end: in this process, or in several that it looks after."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from keel.serving.process.server import listen, log_plainly, serve
from keel.serving.process.supervisor import Supervisor

if TYPE_CHECKING:
    from keel.serving.settings import Settings

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Serve until a signal asks to stop, and return the exit code.

    The first SIGTERM or SIGINT stops accepting, finishes what is in flight and flushes the spool; a second
    ends at once.

    Raises
    ------
    ConfigError, UnknownModel
        The configuration cannot be served.
    CannotListen, SpoolFailed
        The address or the spool's folder cannot be used.

    """
    log_plainly()
    with contextlib.closing(listen(settings)) as listener:
        host, port = listener.getsockname()[:2]
        settings = replace(settings, port=port)
        shown = f"[{host}]" if ":" in host else host
        log.info("serving at http://%s:%d, %s", shown, port, _who_may_ask(settings))
        if settings.workers == 1:
            return serve(settings, listener)
        return Supervisor(settings, listener).run()


def _who_may_ask(settings: Settings) -> str:
    if settings.keys_file is not None:
        return f"for those who have a key in {settings.keys_file}"
    return "for anybody on this machine and for nobody else: there are no keys (KEEL_API_KEYS_FILE)"
