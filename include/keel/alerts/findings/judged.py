"""What one report of a check says: what it found, and what it was able to judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from keel.alerts.records import Examined, Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keel.config import Kind


class Judged(NamedTuple):
    """Findings, and what was examined: an alert of it that is not among the findings is clear in this window."""

    findings: tuple[Finding, ...] = ()
    examined: tuple[Examined, ...] = ()


NOTHING = Judged()


def together(parts: Iterable[Judged]) -> Judged:
    """Return what several reports say as one."""
    parts = list(parts)
    return Judged(
        tuple(finding for part in parts for finding in part.findings),
        tuple(each for part in parts for each in part.examined),
    )


def each_of(kind: Kind, subjects: Iterable[str]) -> tuple[Examined, ...]:
    """Return some subjects of a kind as examined, each by its name."""
    return tuple(Examined(kind=kind, subject=subject) for subject in subjects)
