"""What a person or the API may ask of a run, each with its schema."""

from __future__ import annotations

from airflow.sdk import Param


def window_params() -> dict[str, Param]:
    """Return ``start`` and ``end``: the window to work on, where it is not what the schedule says."""
    return {
        "start": _time("First hour of the window. Empty: the end less the configured lookback."),
        "end": _time("Hour at which the window ends. Empty: the end of the schedule's interval, else now."),
    }


def override_params() -> dict[str, Param]:
    """Return ``overrides``: configuration for one run, validated like the file it stands in for."""
    example = '{"drift.alpha": 0.01}'
    return {"overrides": Param({}, type="object", description=f"Configuration by dotted key, such as {example}.")}


def reason_param() -> dict[str, Param]:
    """Return ``reason``: why somebody asks for what a run does."""
    words = "Why, for those who read the decision later."
    return {"reason": Param("asked for by hand", type="string", minLength=3, maxLength=500, description=words)}


def _time(description: str) -> Param:
    return Param(None, type=["null", "string"], format="date-time", description=description)
