"""Reports in, one action out, with the sentence that explains it. Pure: no store, no clock.

The order matters. A break in the data comes first, because everything after it would be measured on rubbish.
Labels come before drift, because what they show is harm itself; drift is only its possible cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from keel.monitoring.records import Action
from keel.stats.metrics.losses import needed_for

__all__ = ["Action", "Decision", "Policy", "decide_action"]

Report = Mapping[str, Any]
TOP_FEATURES = 3
LEAST_WHOLE_PERCENT = 0.01
MISSING_LABELS = ("missing labels",)


@dataclass(frozen=True)
class Decision:
    """An action and why."""

    action: Action
    sentence: str
    about: tuple[str, ...] = ()
    """What gave rise to it, without its numbers: by this an alert is the same as an earlier one, or another."""


@dataclass(frozen=True)
class Policy:
    """What the model's configuration and history allow."""

    can_retrain: bool
    cooldown: timedelta
    window_end: datetime
    last_retrain: datetime | None
    """The end of the window of the last retrain that was decided, in the data's own time."""


def decide_action(quality: Report, drift: Report, performance: Report, policy: Policy) -> Decision:
    """Decide what a window's three reports lead to.

    quality, drift, performance: the reports' ``to_dict()``. Every status has a branch; one that is not known raises
    ``KeyError`` rather than read as all clear.
    """
    before_labels = {"broken": _on_break, "empty": _on_silence, "ok": None, "warn": None}
    if decide_early := before_labels[quality["status"]]:
        return decide_early(quality)
    by_labels = {
        "degraded": _on_harm,
        "ok": _on_harmless,
        "undefined": _on_undefined,
        "insufficient": _without_labels,
        "no_labels": _without_labels,
    }
    return by_labels[performance["status"]](quality, drift, performance, policy)


def _on_break(quality: Report) -> Decision:
    sentence = f"The data is broken, so nothing is learned from it: {_findings(quality)}."
    return Decision(Action.QUARANTINE, sentence, _columns(quality))


def _on_silence(quality: Report) -> Decision:
    if rows := quality.get("set_aside", {}).get("rows"):
        sentence = f"All {rows:,} predictions of the window are in hours that were set aside, so nothing was judged."
        return Decision(Action.RAISE_ALERT, sentence, ("all set aside",))
    sentence = "No prediction of the production version arrived in the window, so nothing was judged."
    return Decision(Action.RAISE_ALERT, sentence, ("no predictions",))


def _on_harm(quality: Report, drift: Report, performance: Report, policy: Policy) -> Decision:
    metric, increase = performance["metric"], performance["increase"]
    now = performance["current"][metric]["value"]
    then = performance["reference"][metric]["value"]
    harm = f"{metric} is {now:.4f}, {increase:.4f} worse than the holdout's {then:.4f} on {performance['n']:,} labels"
    harm = f"{harm}{_cause(performance)}"
    if performance["labels_missing"]:
        return _retrain_or_alert(f"{harm}; {_labels(performance)}", policy, ("harm", *MISSING_LABELS))
    return _retrain_or_alert(harm, policy, ("harm",))


def _on_harmless(quality: Report, drift: Report, performance: Report, policy: Policy) -> Decision:
    metric = performance["metric"]
    fine = f"labels show no harm ({metric} {performance['current'][metric]['value']:.4f}, {_direction(performance)})"
    also = MISSING_LABELS if performance["labels_missing"] else ()
    few = f", but {_labels(performance)}" if also else ""
    if drift["status"] == "drift":
        sentence = f"{_drifted(drift)}; {fine}{few}" if few else f"{_drifted(drift)}, but {fine}"
        return Decision(Action.RAISE_ALERT, f"{sentence}: worth a look, not a retrain.", (*_moved(drift), *also))
    if quality["status"] == "warn":
        return Decision(Action.RAISE_ALERT, f"{_findings(quality)}; {fine}{few}.", (*_columns(quality), *also))
    if few:
        return Decision(Action.RAISE_ALERT, f"{_upper(fine)}{few}; {_about_inputs(drift)}.", also)
    return _clear(drift, _upper(fine))


def _on_undefined(quality: Report, drift: Report, performance: Report, policy: Policy) -> Decision:
    """Labels that all say the same are a fault more often than the world: not even drift retrains on them."""
    metric = performance["metric"]
    sides = (("window", performance["current"]), ("holdout", performance["reference"]))
    without = [f"the {side}'s {found[metric]['n']:,} labels" for side, found in sides if None in found[metric].values()]
    where = " and on ".join(without)
    why = f"harm was not judged, as {metric} is not defined on {where} (it needs {needed_for(metric)})"
    about: tuple[str, ...] = ("undefined metric",)
    if performance["labels_missing"]:
        why, about = f"{why}; {_labels(performance)}", (*about, *MISSING_LABELS)
    if drift["status"] == "drift":
        sentence = f"{_drifted(drift)}, and {why}: worth a look, not a retrain."
        return Decision(Action.RAISE_ALERT, sentence, (*about, *_moved(drift)))
    if quality["status"] == "warn":
        return Decision(Action.RAISE_ALERT, f"{_findings(quality)}; {why}.", (*about, *_columns(quality)))
    return Decision(Action.RAISE_ALERT, f"{_upper(why)}; {_about_inputs(drift)}.", about)


def _without_labels(quality: Report, drift: Report, performance: Report, policy: Policy) -> Decision:
    labels = _labels(performance)
    also = MISSING_LABELS if performance["labels_missing"] else ()
    if drift["status"] == "drift":
        return _retrain_or_alert(f"{_drifted(drift)}, and {labels}", policy, (*_moved(drift), *also))
    if quality["status"] == "warn":
        return Decision(Action.RAISE_ALERT, f"{_findings(quality)}; {labels}.", (*_columns(quality), *also))
    if answers := _names(drift, "drift", role="output"):
        sentence = f"What the model answers has drifted ({answers}), and {labels}: worth a look."
        return Decision(Action.RAISE_ALERT, sentence, (*_moved(drift, role="output"), *also))
    if also:
        sentence = f"{_upper(labels)}, so harm would go unseen; {_about_inputs(drift)}."
        return Decision(Action.RAISE_ALERT, sentence, also)
    return _clear(drift, _upper(labels))


def _clear(drift: Report, about_labels: str) -> Decision:
    return Decision(Action.ALL_CLEAR, f"{about_labels}; {_about_inputs(drift)}.")


def _about_inputs(drift: Report) -> str:
    """Say what moved in a window that has not drifted as a whole."""
    sentences = {
        "ok": "no input has drifted",
        "warn": _warned(drift),
        "insufficient": f"inputs were not judged, {drift['n']:,} rows are too few",
    }
    return sentences[drift["status"]]


def _retrain_or_alert(why: str, policy: Policy, about: tuple[str, ...]) -> Decision:
    if not policy.can_retrain:
        return Decision(Action.RAISE_ALERT, f"{why}; this model has no retraining configured: alert.", about)
    if policy.last_retrain is not None:
        ready = policy.last_retrain + policy.cooldown
        if policy.last_retrain <= policy.window_end < ready:
            sentence = f"{why}; a retrain is cooling down until {ready:%Y-%m-%d %H:%M} UTC: alert."
            return Decision(Action.RAISE_ALERT, sentence, about)
    return Decision(Action.RETRAIN, f"{why}: retrain.", about)


def _cause(performance: Report) -> str:
    """Say how much of a change of the mean loss the inputs account for."""
    change, explained = performance["loss_change"], performance["explained"]
    if change is None or explained is None:
        return ""
    return f"; loss {change:+.4f}, inputs account for {explained:+.4f}, the rest is the world"


def _labels(performance: Report) -> str:
    """Say why labels do not tell, or not all."""
    if performance["labels_missing"]:
        due = f"the {performance['due']:,} predictions that are due"
        rate = performance["label_rate"]
        if not rate:
            return f"no label of {due} has arrived"
        return f"labels of only {rate:{'.0%' if rate >= LEAST_WHOLE_PERCENT else '.1%'}} of {due} have arrived"
    if performance["n"]:
        return f"{performance['n']:,} labels are too few to judge harm"
    return "no labels have arrived yet"


def _direction(performance: Report) -> str:
    increase = performance["increase"]
    if increase is None:
        return "not comparable with the holdout"
    return f"{abs(increase):.4f} {'worse' if increase > 0 else 'better'} than on the holdout"


def _drifted(drift: Report) -> str:
    names = _names(drift, "drift")
    share = f"{drift['share_drifted']:.0%} of the features have drifted"
    return f"{share} ({names})" if names else share


def _warned(drift: Report) -> str:
    """Say what moved where too little did for the window as a whole to have drifted."""
    said = (
        ("too few inputs have drifted to act on", _names(drift, "drift")),
        ("inputs moved a little", _names(drift, "warn")),
        ("what the model answers has moved", _names(drift, "drift", "warn", role="output")),
    )
    return ", ".join(f"{words} ({names})" for words, names in said if names)


def _names(drift: Report, *severities: str, role: str = "feature") -> str:
    found = _found(drift, severities, role)
    more = len(found) - TOP_FEATURES
    return ", ".join(found[:TOP_FEATURES]) + (f" and {more} more" if more > 0 else "")


def _found(drift: Report, severities: tuple[str, ...], role: str) -> list[str]:
    columns = drift["features"].items()
    return [name for name, column in columns if column["role"] == role and column["severity"] in severities]


def _moved(drift: Report, role: str = "feature") -> tuple[str, ...]:
    return tuple(f"drift of {name}" for name in sorted(_found(drift, ("drift",), role)))


def _columns(quality: Report) -> tuple[str, ...]:
    return tuple(sorted({f"quality of {finding['column']}" for finding in quality["findings"]}))


def _upper(sentence: str) -> str:
    return f"{sentence[0].upper()}{sentence[1:]}"


def _findings(quality: Report) -> str:
    sentences = [f"{finding['column']}: {finding['sentence'].rstrip('.')}" for finding in quality["findings"]]
    more = len(sentences) - TOP_FEATURES
    return "; ".join(sentences[:TOP_FEATURES]) + (f"; and {more} more" if more > 0 else "")
