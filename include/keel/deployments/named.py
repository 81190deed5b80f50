"""A version by its number or its alias, as the ledger has them: MLflow is not asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel import deployments
from keel.deployments.history import history
from keel.errors import UnknownVersion, suggestion

if TYPE_CHECKING:
    from keel.store import Store

PRODUCTION = "production"
MAX_LISTED = 20
"""Versions that an error lists, the newest."""


def version_named(store: Store, model: str, named: int | str | None = None) -> int:
    """Return the number of a version.

    named: a number, as an integer or a text; an alias: ``production``, ``staging`` or ``previous``; None: production.

    Raises
    ------
    UnknownVersion
        There is no such version or alias; the message lists those that exist.
    NoProductionVersion
        Production is asked for, and there is none.

    """
    if named in (None, PRODUCTION):
        return deployments.production_version(store, model)
    state = history(store, model)
    aliases = {alias: number for alias, number in state.deployment.aliases.items() if number is not None}
    if named in aliases:
        return aliases[str(named)]
    number = _number(named)
    if number is not None and number in state.version_statuses:
        return number
    newest = sorted(state.version_statuses)[-MAX_LISTED:]
    shown = str(named)[:MAX_LISTED]
    hint = suggestion(shown, [name for name in state.deployment.aliases if name != named]) if number is None else ""
    raise UnknownVersion(
        f"{model} has no version {shown!r}{hint}; versions: {', '.join(map(str, newest)) or 'none'}; "
        f"aliases: {', '.join(f'{alias} ({number})' for alias, number in aliases.items()) or 'none'}"
    )


def _number(named: int | str | None) -> int | None:
    text = str(named)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_LISTED else None
