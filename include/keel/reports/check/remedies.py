"""What a person has to do after a check, by kind of finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keel.monitoring.records import Action
from keel.reports import numbers
from keel.reports.check.words import Trouble, trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from keel.reports.check.data import CheckData

TOP_COLUMNS = 3
"""Columns that a step names."""


@dataclass(frozen=True)
class Step:
    """One thing to do, and the command for it."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class ToDo:
    """What a person has to do: in two or three words, why, and how."""

    value: str
    lines: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    needed: bool = True
    """Whether anything needs attention."""


def to_do(data: CheckData) -> ToDo:
    """Return what a person has to do after a check."""
    outcome = data.outcome.outcome if data.outcome else ""
    if outcome in _BY_OUTCOME:
        return _BY_OUTCOME[outcome](data)
    if data.decision is not None and data.decision.action is Action.ALL_CLEAR:
        return _nothing(data)
    if data.decision is not None and data.decision.action is Action.RETRAIN and outcome in ("", "retrain"):
        return _wait(data) if data.acted else _train(data)
    return _BY_TROUBLE[trouble(data)](data)


def _nothing(data: CheckData) -> ToDo:
    needed = data.drift.min_rows if data.drift is not None else None
    why = {
        Trouble.INSUFFICIENT: f"{numbers.count(needed, 'prediction')} are needed" if needed else "too few predictions",
        Trouble.WARN: "what has changed is below the thresholds",
    }.get(trouble(data), "Keel checks again by itself")
    return ToDo("Nothing to do", (why,), needed=False)


def _promoted(data: CheckData) -> ToDo:
    outcome = data.outcome
    assert outcome is not None
    if outcome.champion is None:  # it follows no version that could come back
        return ToDo("Nothing to do", (f"Keel monitors version {outcome.version} during its probation",), needed=False)
    step = Step(
        f"Keel monitors version {outcome.version} during its probation, and rolls it back if its labels show harm. "
        "To roll it back by hand:",
        f'airflow dags trigger {data.model}.rollback --conf \'{{"reason": "…"}}\'',
    )
    until = next((row.probation_until for row in data.ledger if row.probation_until), None)
    watched = f"version {outcome.version} is on probation"
    return ToDo("Nothing to do", (watched + (f" until {numbers.time(until)}" if until else ""),), (step,), needed=False)


def _staged(data: CheckData) -> ToDo:
    version = data.outcome.version if data.outcome else None
    step = Step(f"Approve or decline version {version} in Airflow, under Required Actions of {data.model}'s run.")
    return ToDo("Approve or decline", (f"version {version} waits for it",), (step,))


def _declined(data: CheckData) -> ToDo:
    if trouble(data) is Trouble.HARM:
        return ToDo("Find the cause", ("a person declined the new version",), (*_causes(data), _retrain(data)))
    return ToDo("Nothing to do", ("a person declined the new version",), needed=False)


def _kept(data: CheckData) -> ToDo:
    if trouble(data) is Trouble.HARM:
        steps = (
            *_causes(data),
            Step(
                "A version that is trained on a longer or a shorter time may do better: retrain.window in model.yaml. "
                "To train one by hand:",
                _retrain(data).command,
            ),
        )
        return ToDo("Find the cause", ("retraining did not help",), steps)
    return ToDo("Check the inputs", ("retraining did not help",), _causes(data))


def _wait(data: CheckData) -> ToDo:
    steps = (Step("The retrain runs in Airflow. When it ends, this page says what came of it."),)
    return ToDo("Wait", ("a new version is being trained",), steps)


def _train(data: CheckData) -> ToDo:
    return ToDo("Train a version", ("this check does not act",), (*_causes(data), _retrain(data)))


def _quarantined(data: CheckData) -> ToDo:
    columns = (
        list(dict.fromkeys(f.column for f in data.quality.findings if f.status == "broken")) if data.quality else []
    )
    named = f" of {_names(columns)}" if columns else ""
    steps = (
        Step(f"Find out what has changed in the source{named}, and mend it. Later windows need no release."),
        Step("If the data is right as it is, release it:", _release(data)),
    )
    return ToDo("Mend the source", (_names(columns) or "of the broken columns",), steps)


def _labels_quarantined(data: CheckData) -> ToDo:
    steps = (
        Step(
            "Find out what has changed in the feed of the labels, and mend it. To replace wrong labels:",
            f"keel feedback {data.model} right.csv --correct --reason …",
        ),
        Step("Once the labels are right, release them:", _release(data)),
    )
    return ToDo("Mend the labels", ("nothing rests on them until then",), steps)


def _released(data: CheckData) -> ToDo:
    return ToDo("Nothing to do", ("a person has released the data",), needed=False)


def _no_rows(data: CheckData) -> ToDo:
    if data.quality is not None and data.quality.quarantined.rows:
        return ToDo("Mend or release", ("all of the window is quarantined",), _quarantined(data).steps)
    steps = (
        Step("See whether the scoring service answers, at its own address:", "curl http://127.0.0.1:8090/health"),
        Step("If it does, see in its log and its metrics whether its predictions reach the store."),
        Step(f"If the model is not used any more, set check.schedule of {data.model} to null."),
    )
    return ToDo("Find the predictions", ("none arrived in this window",), steps)


def _harm(data: CheckData) -> ToDo:
    if data.config.retrain is None:
        steps = (*_causes(data), Step("Configure retrain in model.yaml, and Keel trains a new version by itself."))
        return ToDo("Find the cause", ("the model has no retraining",), steps)
    return ToDo("Find the cause", ("predictions are worse than on the holdout",), (*_causes(data), _retrain(data)))


def _drift(data: CheckData) -> ToDo:
    return ToDo("Check the inputs", (_names(_moved(data)),), _causes(data))


def _outputs(data: CheckData) -> ToDo:
    return ToDo("Check the inputs", ("what the model answers has changed",), _causes(data))


def _faults(data: CheckData) -> ToDo:
    columns = list(dict.fromkeys(f.column for f in data.quality.findings)) if data.quality else []
    steps = (Step(f"Find out what has changed in the source of {_names(columns)}."),)
    return ToDo("Check the source", (f"of {_names(columns)}",), steps)


def _undefined(data: CheckData) -> ToDo:
    step = Step(
        "See whether the labels of the window are right: a metric is undefined where all labels are of one class, or "
        "where the version was never measured by it."
    )
    return ToDo("Check the labels", ("the metric is not defined on them",), (step,))


def _missing_labels(data: CheckData) -> ToDo:
    steps = (
        Step(f"Send the labels of {data.config.target.name} that are due:", f"keel feedback {data.model} labels.csv"),
        Step("A model without labels is not asked for them: set performance.min_label_rate to 0 in model.yaml."),
    )
    return ToDo("Send the labels", ("harm is not seen without them",), steps)


def _labels(data: CheckData) -> ToDo:
    if data.labels is not None and data.labels.quarantined.hours:
        return _labels_quarantined(data)
    step = Step("Find out whether the feed of the labels has changed, or what it describes.")
    return ToDo("Check the labels", ("they differ from those of the reference",), (step,))


def _monitoring(data: CheckData) -> ToDo:
    step = Step("The section about live alarms says what is wrong. To see the monitors:", f"keel live {data.model}")
    return ToDo("See to the monitoring", ("changes may not be seen until then",), (step,))


def _not_stored(data: CheckData) -> ToDo:
    steps = (Step("Check the window:", f"airflow dags trigger {data.model}.drift_check"),)
    return ToDo("Check it", ("no report is stored",), steps)


_BY_OUTCOME: dict[str, Callable[[CheckData], ToDo]] = {
    "promoted": _promoted,
    "staged": _staged,
    "declined": _declined,
    "kept_champion": _kept,
    "quarantined": _quarantined,
    "labels_quarantined": _labels_quarantined,
    "released": _released,
}
_BY_TROUBLE: dict[Trouble, Callable[[CheckData], ToDo]] = {
    Trouble.NOT_STORED: _not_stored,
    Trouble.BROKEN_DATA: _quarantined,
    Trouble.BROKEN_LABELS: _labels_quarantined,
    Trouble.NO_ROWS: _no_rows,
    Trouble.HARM: _harm,
    Trouble.DRIFT: _drift,
    Trouble.UNDEFINED: _undefined,
    Trouble.FAULTS: _faults,
    Trouble.OUTPUTS: _outputs,
    Trouble.MISSING_LABELS: _missing_labels,
    Trouble.LABELS: _labels,
    Trouble.ALARM: _drift,
    Trouble.MONITORING: _monitoring,
    Trouble.WARN: _nothing,
    Trouble.INSUFFICIENT: _nothing,
    Trouble.NONE: _nothing,
}


def _causes(data: CheckData) -> tuple[Step, ...]:
    """Return where to look for the cause of harm or of drift."""
    steps = []
    if moved := _moved(data):
        steps.append(
            Step(
                f"Look at {_names(moved)}. If a source is broken, mend it; if the world has changed, the model has to."
            )
        )
    unexplained = data.performance.unexplained if data.performance else None
    explained = data.performance.explained if data.performance else None
    if trouble(data) is Trouble.HARM and unexplained is not None and unexplained > max(explained or 0.0, 0.0):
        steps.append(
            Step(
                "Most of the loss comes from a changed relation between inputs and target. Look for what the inputs do "
                "not say, and for wrong labels."
            )
        )
    return tuple(steps)


def _retrain(data: CheckData) -> Step:
    return Step(
        "To train a new version by hand:",
        f'airflow dags trigger {data.model}.retrain --conf \'{{"reason": "…"}}\'',
    )


def _release(data: CheckData) -> str:
    """Return the command that releases what the check quarantined."""
    spans = (data.outcome.quarantined if data.outcome else ()) or (data.labels.spans if data.labels else ())
    if not spans and data.labels and data.labels.quarantined.hours:  # by earlier checks
        return f"keel quarantine release {data.model} --start … --end …"
    start, end = (spans[0].start, spans[-1].end) if spans else (data.window.start, data.window.end)
    return f"keel quarantine release {data.model} --start {start:%Y-%m-%dT%H:%MZ} --end {end:%Y-%m-%dT%H:%MZ}"


def _moved(data: CheckData) -> list[str]:
    """Return the columns that have changed, the largest impact first."""
    if data.drift is None:
        return []
    return data.drift.names("drift") or data.drift.names("drift", role="output") or data.drift.names("warn")


def _names(columns: list[str]) -> str:
    more = len(columns) - TOP_COLUMNS
    return ", ".join(columns[:TOP_COLUMNS]) + (f" and {more} more" if more > 0 else "")
