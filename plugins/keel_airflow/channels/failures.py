"""Faults on the way to a receiver, whatever library raises them, as an answer that says which of them it is."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from keel_airflow.channels.answers import TIMEOUT, refused

if TYPE_CHECKING:
    from keel.alerts.records import Answer

_WRONG_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
"""What OpenSSL says when the other side speaks in clear."""


def failure(error: BaseException, secrets: Iterable[str], *, where: str) -> Answer:
    """Return what a fault on the way is, to be tried again but for TLS that the receiver does not speak.

    where: what was addressed, without a credential.
    """
    chain = list(_causes(error))
    if tls := next((each for each in chain if isinstance(each, ssl.SSLError)), None):
        return _tls(tls, secrets, where)
    if name := next((each for each in chain if isinstance(each, socket.gaierror)), None):
        return refused(f"{where}: the host's name is not known ({name.strerror})", secrets)
    if any(isinstance(each, TimeoutError) or "timeout" in type(each).__name__.lower() for each in chain):
        return refused(f"{where}: no answer within {TIMEOUT:.0f} seconds", secrets, is_silent=True)
    if any(isinstance(each, ConnectionRefusedError) for each in chain):
        return refused(f"{where}: connection refused", secrets)
    return refused(f"{where}: {type(chain[-1]).__name__}: {chain[-1]}", secrets)


def _tls(error: ssl.SSLError, secrets: Iterable[str], where: str) -> Answer:
    """Say what is wrong with TLS. A certificate may be renewed; a port that speaks in clear stays one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return refused(f"{where}: the certificate is not trusted: {error.verify_message}", secrets)
    text = f"{error.reason or ''} {error}"
    if any(sign in text for sign in _WRONG_TLS):
        return refused(f"{where}: TLS mismatch: the port does not speak TLS at once", secrets, is_final=True)
    return refused(f"{where}: TLS: {text}", secrets)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what is behind it, however a library wraps that, the outermost first."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        each = queue.pop(0)
        if not isinstance(each, BaseException) or each in seen:
            continue
        seen.append(each)
        yield each
        queue += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
