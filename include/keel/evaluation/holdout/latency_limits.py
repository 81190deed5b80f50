"""Whether a challenger answers fast enough, and is small enough, for what the policy allows."""

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
    """What was measured of both versions, what exceeds a limit, and what a limit needs that was not measured."""

    measured: dict[str, dict[str, float | None]]
    slowdown: float
    """The challenger's median latency of one row over the champion's."""
    limits: dict[str, float]
    exceeded: tuple[str, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values, NaN as None."""
        return {**self.measured, "slowdown": finite_or_none(self.slowdown), "limits": self.limits}


def check_limits(speed: Mapping[str, Any] | None, policy: PromotionConfig) -> LimitsCheck | None:
    """Hold what was measured against the policy's limits; None where nothing was measured and nothing is limited.

    speed: under ``champion`` and ``challenger`` an object or a mapping with `MEASURES`, for one row where that matters.
    A limit whose measure is missing or not finite, zero or negative, is never met.
    """
    if speed is None and not policy.measures_speed:
        return None
    of = {who: {name: _number((speed or {}).get(who), name) for name in MEASURES} for who in ("champion", "challenger")}
    slowdown = of["challenger"]["p50_ms"] / of["champion"]["p50_ms"]
    held = {
        "max_slowdown": (slowdown, "one row takes {:.2f} times as long as the champion's", "{:g} times"),
        "max_latency_ms": (of["challenger"]["p95_ms"], "95% of single rows take up to {:.1f} ms", "{:g} ms"),
        "max_size_mb": (of["challenger"]["size_mb"], "the model takes {:.1f} MB", "{:g} MB"),
    }
    limits, exceeded, missing = {}, [], []
    for name, (found, told, unit) in held.items():
        limit = getattr(policy, name)
        if limit is None:
            continue
        limits[name] = limit
        if not math.isfinite(found):
            missing.append(name)
        elif not found <= limit:
            exceeded.append(f"{told.format(found)}, and {unit.format(limit)} are allowed")
    plain = {who: {name: finite_or_none(value) for name, value in values.items()} for who, values in of.items()}
    return LimitsCheck(plain, slowdown, limits, tuple(exceeded), tuple(missing))


def _number(measured: Any, name: str) -> float:
    """Return a measure, NaN for whatever is no positive finite number."""
    value = measured.get(name) if isinstance(measured, Mapping) else getattr(measured, name, None)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if usable and value is not None else math.nan
