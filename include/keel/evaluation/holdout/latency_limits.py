"""Check a challenger's latency and size against the limits of the policy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keel.stats.json_numbers import finite_or_none

if TYPE_CHECKING:
    from keel.config import PromotionConfig

MEASURES = ("p50_ms", "p95_ms", "size_mb")


@dataclass(frozen=True)
class LimitsCheck:
    """The measurements of both versions, the limits that are exceeded, and those without a measurement."""

    measured: dict[str, dict[str, float | None]]
    slowdown: float
    """The challenger's median latency of one row over the champion's."""
    limits: dict[str, float]
    exceeded: tuple[str, ...]
    """A clause for each limit that is exceeded."""
    missing: tuple[str, ...]
    """The limits without a measurement."""

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        return {**self.measured, "slowdown": finite_or_none(self.slowdown), "limits": self.limits}


def check_limits(speed: Mapping[str, Any] | None, policy: PromotionConfig) -> LimitsCheck | None:
    """Check measurements against the policy's limits; None without measurements and without limits.

    speed: ``champion`` and ``challenger``, each an object or a mapping with `MEASURES`; latencies are those of one row.
    A limit is never met if its measurement is missing, not finite, zero or negative.
    """
    if speed is None and not policy.measures_speed:
        return None
    of = {who: {name: _number((speed or {}).get(who), name) for name in MEASURES} for who in ("champion", "challenger")}
    slowdown = of["challenger"]["p50_ms"] / of["champion"]["p50_ms"]
    checks = {
        "max_slowdown": (slowdown, "one row takes {:.2f} times as long as the champion's", "{:g} times"),
        "max_latency_ms": (of["challenger"]["p95_ms"], "the 95th percentile of one row is {:.1f} ms", "{:g} ms"),
        "max_size_mb": (of["challenger"]["size_mb"], "the model takes {:.1f} MB", "{:g} MB"),
    }
    limits, exceeded, missing = {}, [], []
    for name, (value, clause, unit) in checks.items():
        limit = getattr(policy, name)
        if limit is None:
            continue
        limits[name] = limit
        if not math.isfinite(value):
            missing.append(name)
        elif not value <= limit:
            exceeded.append(f"{clause.format(value)}, and at most {unit.format(limit)} are allowed")
    plain = {who: {name: finite_or_none(value) for name, value in values.items()} for who, values in of.items()}
    return LimitsCheck(plain, slowdown, limits, tuple(exceeded), tuple(missing))


def _number(measured: Any, name: str) -> float:
    """Return a measurement; NaN unless it is a positive finite number."""
    value = measured.get(name) if isinstance(measured, Mapping) else getattr(measured, name, None)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if usable and value is not None else math.nan
