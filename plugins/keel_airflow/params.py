"""What a person or the API may ask of a run, each with its schema."""

from __future__ import annotations

from airflow.sdk import Param

from keel.config.sections import METRICS_OF_KIND


def window_params() -> dict[str, Param]:
    """Return ``start`` and ``end``: the window to work on, where it is not what the schedule says."""
    return {
        "start": _time("First hour of the window. Empty: the end less the configured lookback."),
        "end": _time("Hour at which the window ends. Empty: the end of the schedule's interval, else now."),
    }


def end_param() -> dict[str, Param]:
    """Return ``end``: until when the world is looked at, where it is not what the schedule says."""
    return {"end": _time("Until when. Empty: the end of the schedule's interval, else now.")}


def version_param(otherwise: str) -> dict[str, Param]:
    """Return ``version``: the number of a version in the registry, and what is taken without one."""
    words = f"Number of the version. Empty: {otherwise}."
    return {"version": Param(None, type=["null", "integer"], minimum=1, description=words)}


def force_param() -> dict[str, Param]:
    """Return ``force``: whether a version is promoted whatever the comparison says."""
    words = "Promote whatever the comparison says; only by a person, and only with a reason of their own."
    return {"force": Param(False, type="boolean", description=words)}


def override_params() -> dict[str, Param]:
    """Return ``overrides``: configuration for one run, validated like the file it stands in for."""
    words = 'Configuration by dotted key, such as {"drift.alpha": 0.01}; nothing of promotion, which is policy.'
    return {"overrides": Param({}, type="object", description=words)}


def experiment_params() -> dict[str, Param]:
    """Return what an experiment is started with, or that it is to be stopped; see docs/experiments.md."""
    metrics = sorted(set().union(*METRICS_OF_KIND.values()))
    return {
        "action": Param("start", enum=["start", "stop"], type="string", description="What is to be done."),
        "challenger": version_param("the one in staging")["version"],
        "mode": Param("ab", enum=["ab", "shadow"], type="string", description="Does the challenger answer anybody?"),
        "allocation": Param(
            None, type=["null", "number"], exclusiveMinimum=0, exclusiveMaximum=1,
            description="Share of the entities that the challenger answers. Empty: half of them, or the ramp.",
        ),
        "ramp": Param(None, type=["null", "string"], description="Percentages with durations: 5:24h,20:24h,50."),
        "metric": Param(
            None, enum=[None, *metrics], type=["null", "string"], description="Empty: performance.metric."
        ),
        "margin": Param(None, type=["null", "number"], description="What must be exceeded. Empty: promotion.margin."),
        "alpha": Param(
            None, type=["null", "number"], exclusiveMinimum=0, exclusiveMaximum=0.5,
            description="Chance of a wrong verdict. Empty: promotion.alpha.",
        ),
        "max_n": Param(100_000, type="integer", minimum=1, description="Outcomes after which it ends in any case."),
        "least": Param(None, type=["null", "string"], description="How long it lasts before a verdict. Empty: 7d."),
        "most": Param(
            None, type=["null", "string"], description="When it ends in any case. Empty: 60d and the label delay."
        ),
        "at": _time("From when rows count, in the data's time. Empty: now."),
    }  # fmt: skip


def evidence_param() -> dict[str, Param]:
    """Return ``experiment``: the one that a promotion is to rest on."""
    words = "Id of the experiment that has shown the version to be better. Empty: compare it on a holdout."
    return {"experiment": Param(None, type=["null", "string"], description=words)}


NO_REASON = "asked for by hand"
"""What stands for a reason until somebody gives one."""


def reason_param() -> dict[str, Param]:
    """Return ``reason``: why somebody asks for what a run does."""
    words = "Why, for those who read the decision later."
    return {"reason": Param(NO_REASON, type="string", minLength=3, maxLength=500, description=words)}


def _time(description: str) -> Param:
    return Param(None, type=["null", "string"], format="date-time", description=description)
