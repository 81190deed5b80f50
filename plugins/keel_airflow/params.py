"""The parameters of runs, each with its schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import Param

from keel.config import Channel
from keel.config.renames import PARAMETERS, renamed
from keel.config.sections import METRICS_OF_KIND
from keel.errors import ConfigError, InvalidParameter, suggestion
from keel.window import ceil_hour, now_utc, parse_time

if TYPE_CHECKING:
    from airflow.sdk.definitions.param import ParamsDict

END = "Empty: now; in a scheduled run, the end of the schedule's interval."
"""What an empty ``end`` means. A logical date does not change it."""


def window_params() -> dict[str, Param]:
    """Return ``start`` and ``end`` of the window to check, where it is not the schedule's."""
    return {
        "start": _time("First hour of the window. Empty: the end less the configured lookback."),
        "end": _time(f"Hour at which the window ends. {END}"),
    }


def end_param() -> dict[str, Param]:
    """Return ``end``: the time until which data is evaluated, where it is not the schedule's."""
    return {"end": _time(f"Time until which data is evaluated. {END}")}


def version_param(default: str) -> dict[str, Param]:
    """Return ``version``: the number of a version in the registry, with a description of its default."""
    description = f"Number of the version. Empty: {default}."
    return {"version": Param(None, type=["null", "integer"], minimum=1, description=description)}


def versions_param() -> dict[str, Param]:
    """Return ``versions``: the numbers of the versions to measure."""
    description = "Versions to measure. Empty: production, staging, previous and the newest candidate."
    number = {"type": "integer", "minimum": 1}
    return {"versions": Param([], type="array", items=number, uniqueItems=True, description=description)}


def force_param() -> dict[str, Param]:
    """Return ``force``: whether a version is promoted whatever the comparison finds."""
    description = "Promote whatever the comparison finds. Only a person may force, and must give a reason."
    return {"force": Param(False, type="boolean", description=description)}


def override_params() -> dict[str, Param]:
    """Return ``overrides``: configuration for one run, validated like ``model.yaml``."""
    description = 'Configuration for this run by dotted key, such as {"drift.alpha": 0.01}; not of promotion.'
    return {"overrides": Param({}, type="object", description=description)}


def experiment_params() -> dict[str, Param]:
    """Return the parameters that start or stop an experiment; see docs/experiments.md."""
    metrics = sorted(set().union(*METRICS_OF_KIND.values()))
    return {
        "action": Param("start", enum=["start", "stop"], type="string", description="Start or stop an experiment."),
        "challenger": version_param("the one in staging")["version"],
        "mode": Param(
            "ab",
            enum=["ab", "shadow"],
            type="string",
            description="ab: the challenger answers a share of the entities. shadow: its answers are only logged.",
        ),
        "allocation": Param(
            None,
            type=["null", "number"],
            exclusiveMinimum=0,
            exclusiveMaximum=1,
            description="Share of the entities that the challenger answers. Empty: half of them, or the ramp.",
        ),
        "ramp": Param(None, type=["null", "string"], description="Percentages with durations: 5:24h,20:24h,50."),
        "metric": Param(None, enum=[None, *metrics], type=["null", "string"], description="Empty: performance.metric."),
        "margin": Param(
            None,
            type=["null", "number"],
            description="Improvement that the challenger must exceed. Empty: promotion.margin.",
        ),
        "alpha": Param(
            None,
            type=["null", "number"],
            exclusiveMinimum=0,
            exclusiveMaximum=0.5,
            description="Probability of a wrong verdict. Empty: promotion.alpha.",
        ),
        "max_outcomes": Param(
            100_000, type="integer", minimum=1, description="Number of outcomes at which the experiment ends."
        ),
        "min_duration": Param(None, type=["null", "string"], description="Time before any verdict. Empty: 7d."),
        "max_duration": Param(
            None,
            type=["null", "string"],
            description="Time after which the experiment ends. Empty: 60d and the label delay.",
        ),
        "start_at": _time("Time from which rows count, by the data's clock. Empty: now."),
        "experiment": Param(
            None, type=["null", "string"], description="Id of the experiment to stop. Empty: the one that is running."
        ),
    }


def refuse_invalid(given: Mapping[str, Any], params: Mapping[str, Any], declared: ParamsDict, *, dag_id: str) -> None:
    """Refuse parameters of a run that would have no effect, times that are none, and an end that is not over.

    Airflow ignores a key that the DAG does not have, and takes any text for a time. Whatever is checked until that end
    would be older than a window that has no data yet, so that nobody is told of it.

    Parameters
    ----------
    given:
        the run's configuration, as its user gave it
    params:
        the values that the tasks see
    declared:
        the parameters of the DAG
    dag_id:
        of the DAG, for the message

    Raises
    ------
    InvalidParameter
        With the place, the value and the nearest name of each.

    """
    found = [_unknown(name, declared, dag_id) for name in given if name not in declared]
    found += [
        f"params.{name}: ignored, because core.dag_run_conf_overrides_params is off in Airflow; switch it on"
        for name in given
        if name in declared and params.get(name) != given[name]
    ]
    for name in declared:
        if declared.get_param(name).schema.get("format") == "date-time":
            try:
                time = parse_time(params.get(name))
            except ConfigError as error:
                found.append(f"params.{name}: {error}")
                continue
            if name == "end" and time is not None and time > ceil_hour(now_utc()):
                found.append(
                    f"params.end: {params[name]} is not over yet: leave it empty for now, or name an earlier time"
                )
    if found:
        raise InvalidParameter("\n".join(found))


def _unknown(name: str, declared: ParamsDict, dag_id: str) -> str:
    if PARAMETERS.get(name) in declared:
        return f"params.{renamed(name, PARAMETERS[name])}"
    valid = f"valid: {', '.join(declared)}" if declared else "it has none"
    return f"params.{name}: {dag_id} has no such parameter{suggestion(name, declared)}; {valid}"


def experiment_evidence_param() -> dict[str, Param]:
    """Return ``experiment``: the experiment whose verdict is the evidence for a promotion."""
    description = "Id of the experiment that showed the version to be better. Empty: compare on a holdout."
    return {"experiment": Param(None, type=["null", "string"], description=description)}


def sample_params() -> dict[str, Param]:
    """Return the parameters of a message that shows that alerts arrive."""
    return {
        "model": Param(None, type=["null", "string"], description="Whose people. Empty: those of every model."),
        "channel": Param(
            None,
            enum=[None, *get_args(Channel)],
            type=["null", "string"],
            description="Only by this channel. Empty: by every one.",
        ),
        "to": Param(
            None,
            type=["null", "string"],
            maxLength=300,
            pattern=r"^[^\r\n\t]*$",
            description="A recipient in place of the configured ones; with a channel.",
        ),
    }


NO_REASON = "requested by hand"
"""The reason of a run to which the user gave none."""


def reason_param() -> dict[str, Param]:
    """Return ``reason``: why a user requests the run."""
    description = "Reason, stored with the decision."
    return {"reason": Param(NO_REASON, type="string", minLength=3, maxLength=500, description=description)}


def _time(description: str) -> Param:
    return Param(None, type=["null", "string"], format="date-time", description=description)
