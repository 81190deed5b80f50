"""Names that a feature may have."""

from __future__ import annotations

from collections.abc import Iterable

from keel.values.names import twins

RESERVED = (
    *("id", "time", "version", "score", "prediction", "arm", "allocation", "entity", "experiment"),
    *("shadow_version", "shadow_score", "shadow_prediction", "absent", "invalid", "label", "observed_at"),
    "keel_arrival",
)
"""Keel's own columns, beside which the features stand in every table of predictions, in a grid and in a report."""


def why_unusable(names: Iterable[str]) -> str | None:
    """Return why one of the names cannot be a feature's, with the remedy; None if all can.

    >>> why_unusable(["temp", "time"])
    "a feature cannot be called 'time', because Keel has a column of that name: rename it, for example to 'time_'"
    """
    names = list(names)
    for name in names:
        if name in RESERVED:
            return (
                f"a feature cannot be called {name!r}, because Keel has a column of that name: rename it, "
                f"for example to {name + '_'!r}"
            )
        if not name or "\x00" in name:
            return f"{name!r} cannot be a feature's name: give it a name without NUL characters"
        try:
            name.encode()
        except UnicodeEncodeError:
            return f"{name!r} cannot be a feature's name: it holds half a surrogate pair, which is no text"
    if same := twins(names):
        return f"{same[0]!r} and {same[1]!r} are one name, with its accents in two encodings: keep one of them"
    return None
