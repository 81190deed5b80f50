"""Checks with each status that a column, the data, performance, the labels and a decision can have.

The reports are made by the code that makes them in a check, from small grids; what needs a store or a registry is
written down. The same seeds give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from keel.grid.reference import ReferenceGrid
from keel.monitoring.alarms import after_retraining, judge_alarms, with_alarms
from keel.monitoring.decision import Policy, decide_action
from keel.monitoring.drift import detect
from keel.monitoring.quality import check_quality
from keel.monitoring.records import (
    DecisionRecord,
    LiveAlarm,
    Outcome,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.monitoring.storage import report_id
from keel.reports.check import CheckData, CheckLinks
from keel.reports.check.data import LedgerRow
from keel.reports.check.history import ColumnHistory, Deployed, Measured
from keel.reports.distributions import distributions
from keel.window import Window
from tests.support.live.alarms import live_alarm
from tests.support.toy import START, toy_config

DAY = timedelta(days=1)
WINDOW = Window(START + 49 * DAY, START + 56 * DAY)
LABELLED = WINDOW.earlier(DAY)
CONFIG = toy_config(
    check={"schedule": "0 */6 * * *", "lookback": "7d"},
    drift={"min_rows": 200, "drift_share": 0.3},
    alerts={"email": ["oncall@example.com"], "runbook": "https://runbooks.example.com/toy"},
)
REGRESSION = toy_config(
    target={"name": "minutes", "kind": "regression", "label_delay": "2d"},
    performance={"metric": "mae", "max_degradation": 1.0, "min_rows": 200},
)
MARKUP = "<img src=x onerror=alert(1)>"
"""A column's name that must stay a text."""
ROWS, REFERENCE_ROWS = 1500, 4000

Table = Mapping[str, Any]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def colours(n: int, shares: tuple[float, ...] = (0.5, 0.3, 0.2), seed: int = 0) -> np.ndarray:
    names = np.array(["red", "green", "blue", "black", "white"][: len(shares)], dtype=object)
    return rng(seed).choice(names, n, p=shares)


def with_missing(values: np.ndarray, share: float) -> np.ndarray:
    values = values.astype(object if values.dtype == object else float).copy()
    values[: round(share * len(values))] = None if values.dtype == object else np.nan
    return values


def data(reference: Table, window: Table, *, config: Any = CONFIG, losses: bool = True, **parts: Any) -> CheckData:
    """Return a check of a window of columns, numeric unless they hold text."""
    kinds = {n: "categorical" if np.asarray(v, object)[0].__class__ is str else "numeric" for n, v in reference.items()}
    table = pa.table({n: pa.array(list(v) if kinds[n] == "categorical" else v) for n, v in reference.items()})
    n = table.num_rows
    loss = {"holdout": table, "loss": 0.15 + 0.05 * np.abs(np.sin(np.arange(n)))} if losses else {}
    grid = ReferenceGrid.fit(table, kinds, **loss)
    counts = grid.count(pa.table(dict(window))) if window else grid.count(table.slice(0, 0))
    drift = StoredDriftReport.from_dict(detect(grid, counts, config.drift).to_dict())
    quality = StoredQualityReport.from_dict(check_quality(grid, counts, config=config.drift).to_dict())
    found = {"quality": quality, "drift": drift, "performance": performance(), "labels": labels(), **parts}
    return CheckData(
        config=config,
        version=parts.pop("version", 1),
        window=WINDOW,
        **found,
        charts=distributions(grid, counts) if counts.n else {},
        without_charts="" if counts.n else "The distributions are not shown: the store has no counts of this window.",
        columns=histories(drift),
        series=series(config),
        measured=measured(found["performance"]),
        deployed=(Deployed(START + 20 * DAY, 1, None, "promote", 2),),
        links=CheckLinks("https://airflow.example.com/run", "https://mlflow.example.com/run"),
        release="0.3.0",
    )


def decided(
    check: CheckData,
    outcome: str = "",
    *,
    can_retrain: bool = True,
    alarms: Sequence[LiveAlarm] = (),
    **evidence: Any,
) -> CheckData:
    """Return a check with the decision that its reports and the live alarms lead to, and its outcome."""
    assert check.quality is not None
    assert check.drift is not None
    assert check.performance is not None
    policy = Policy(can_retrain, DAY, WINDOW.end, None, START + 20 * DAY)
    found = decide_action(check.quality, check.drift, check.performance, policy, check.labels)
    judgements = judge_alarms(
        alarms, check.version, WINDOW, quality=check.quality, drift=check.drift, performance=check.performance
    )
    judgements = after_retraining(judgements, found.action)
    found = with_alarms(found, judgements, check.drift, check.performance)
    record = DecisionRecord(
        decision_id=report_id("decision", check.model, check.version, WINDOW),
        model=check.model,
        version=check.version,
        window=WINDOW,
        action=found.action,
        sentence=found.sentence,
        about=found.about,
        alarms=tuple(each.alarm.alarm_id for each in judgements if each.is_judged),
        open_alarms=tuple(each.alarm.alarm_id for each in judgements if not each.is_judged),
    )
    sentence = evidence.pop("sentence", record.sentence)
    ended = Outcome.of(outcome or record.action, record, sentence, **{"notified": ("outbox",), **evidence})
    return replace(check, decision=record, outcome=ended, alarms=judgements)


def performance(status: str = "ok", value: float | None = 0.171, **changes: Any) -> StoredPerformanceReport:
    base = {
        "status": status, "metric": "brier", "n": 1410, "due": 1490, "label_rate": 0.946, "max_degradation": 0.01,
        "current": {"brier": {"value": value, "standard_error": 0.006, "n": 1410}},
        "reference": {"brier": {"value": 0.166, "standard_error": 0.005, "n": 900}},
        "increase": None if value is None else value - 0.166, "standard_error": 0.0078, "p_value": 0.26,
        "loss_change": None if value is None else value - 0.166, "explained": 0.002,
        "unexplained": None if value is None else value - 0.168, "window": LABELLED.to_dict(),
    }  # fmt: skip
    return StoredPerformanceReport.from_dict({**base, **changes})


def harm(**changes: Any) -> StoredPerformanceReport:
    return performance("degraded", 0.243, **{"p_value": 1.2e-9, "explained": 0.021, "unexplained": 0.056, **changes})


def no_labels(**changes: Any) -> StoredPerformanceReport:
    nothing = {"n": 0, "due": 1490, "label_rate": 0.0, "labels_missing": True, "current": {}, "p_value": None,
               "loss_change": None, "explained": None, "unexplained": None}  # fmt: skip
    return performance("no_labels", None, **{**nothing, **changes})


def labels(status: str = "ok", **changes: Any) -> StoredLabelsReport:
    base = {
        "status": status, "n": 1410, "due": 1490, "coverage": 0.946, "mean": 0.412, "deviation": 0.492,
        "late_share": 0.012, "mean_delay_hours": 19.5, "window": LABELLED.to_dict(),
        "reference": {"n": 4900, "mean": 0.404, "deviation": 0.491},
    }  # fmt: skip
    return StoredLabelsReport.from_dict({**base, **changes})


def finding(kind: str, status: str, sentence: str, days: int = 1) -> dict[str, Any]:
    start = LABELLED.start + DAY
    return {"kind": kind, "status": status, "start": start.isoformat(), "end": (start + days * DAY).isoformat(),
            "n": 200 * days, "sentence": sentence, "p_value": 1e-12}  # fmt: skip


def series(config: Any) -> tuple[Measured, ...]:
    values = 0.166 + 0.012 * np.sin(np.arange(5))
    scale = 1.0 if config.target.kind == "binary" else 50.0
    return tuple(
        Measured(START + (21 + 7 * i) * DAY, START + (28 + 7 * i) * DAY, 1, v * scale, (v - 0.02) * scale,
                 (v + 0.02) * scale, 1300, 0.95, 0.166 * scale)
        for i, v in enumerate(values.tolist())
    )  # fmt: skip


def measured(report: StoredPerformanceReport | None) -> Measured | None:
    now = report.current.get(report.metric) if report else None
    if report is None or now is None or now.value is None or not report.n:
        return None
    lower, upper = 0.9 * now.value, 1.1 * now.value
    return Measured(LABELLED.start, LABELLED.end, 1, now.value, lower, upper, report.n, 0.946)


def histories(drift: StoredDriftReport) -> dict[str, ColumnHistory]:
    found = {}
    for name, column in drift.features.items():
        now = column.measure("psi", "excess")
        steps = (0.02, None, 0.05, 0.4, 1.0)
        found[name] = ColumnHistory(
            ends=tuple(WINDOW.end - (4 - i) * 7 * DAY for i in range(5)),
            versions=(1,) * 5,
            excess=tuple(None if step is None or now is None else round(step * now, 4) for step in steps),
        )
    return found


def steady(n: int, seed: int) -> dict[str, Any]:
    return {"x": rng(seed).normal(size=n), "z": rng(seed + 1).exponential(size=n), "colour": colours(n, seed=seed + 2)}


def all_clear() -> CheckData:
    reference = {**steady(REFERENCE_ROWS, 1), "one": np.full(REFERENCE_ROWS, 3.0)}
    window = {**steady(ROWS, 11), "one": np.full(ROWS, 3.0)}
    return decided(data(reference, window))


def harm_promoted() -> CheckData:
    window = {
        "x": rng(5).normal(1.2, 1, ROWS),
        "z": rng(6).exponential(1.6, size=ROWS),
        "colour": colours(ROWS, (0.15, 0.3, 0.55), seed=7),
    }
    check = data(steady(REFERENCE_ROWS, 1), window, performance=harm(long_run=long_run(0.213, 0.047, 0.021)))
    rows = (
        LedgerRow(6, "Version 3 was trained and registered as a candidate."),
        LedgerRow(7, "Version 3 was promoted to production in place of version 1.", WINDOW.end + 7 * DAY),
    )
    return replace(decided(check, "promoted", **compared("pass", 0.0312, 0.0104)), ledger=rows)


def long_run(value: float, increase: float, lower: float) -> dict[str, Any]:
    return {"since": (START + 20 * DAY).isoformat(), "until": LABELLED.end.isoformat(), "n": 13_400, "value": value,
            "increase": increase, "standard_error": 0.004, "lower_bound": lower, "level": 0.05, "unit": "day",
            "clusters": 35}  # fmt: skip


def compared(verdict: str, improvement: float, lower: float, **more: Any) -> dict[str, Any]:
    return {
        "version": 3 if verdict == "pass" else 1, "champion": 1, "challenger": 3, "verdict": verdict,
        "metric": "brier", "n": 3360, "champion_value": 0.2391, "challenger_value": round(0.2391 - improvement, 4),
        "improvement": improvement, "lower_bound": lower, "margin": 0.0, "level": 0.05,
        "holdout": {"start": (WINDOW.end - 8 * DAY).isoformat(), "end": (WINDOW.end - DAY).isoformat()},
        "report_id": "comparison-0123456789abcdef", "sentence": "Version 3 was compared with version 1.", **more,
    }  # fmt: skip


def harm_champion_kept() -> CheckData:
    check = data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=harm())
    return decided(check, "kept_champion", **compared("fail", -0.002, -0.014))


def harm_staged() -> CheckData:
    check = data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=harm())
    return decided(check, "staged", **compared("pass", 0.0312, 0.0104))


def harm_being_retrained() -> CheckData:
    return replace(decided(data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=harm())), outcome=None)


def harm_in_the_long_run() -> CheckData:
    few = performance("degraded", 0.181, p_value=0.09, long_run=long_run(0.188, 0.022, 0.006))
    return decided(data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=few), can_retrain=False)


def broken_data() -> CheckData:
    reference = {**steady(REFERENCE_ROWS, 1), "price": rng(4).lognormal(3, 1, REFERENCE_ROWS)}
    window = {
        "z": with_missing(rng(3).exponential(size=ROWS), 1.0),
        "colour": np.array(["RED", "GREEN"] * (ROWS // 2), dtype=object),
        "price": np.array(["12,50 EUR"] * ROWS, dtype=object),
    }
    check = data(reference, window)
    return decided(check, "quarantined", quarantined=(WINDOW,), sentence="Quarantined predictions of toy.")


def broken_but_released() -> CheckData:
    check = data(steady(REFERENCE_ROWS, 1), {**steady(ROWS, 11), "z": with_missing(rng(3).exponential(size=ROWS), 0.8)})
    return decided(check, "released", sentence="No predictions of toy were quarantined: a person released them.")


def faulty_data() -> CheckData:
    reference = {**steady(REFERENCE_ROWS, 1), "ratio": rng(4).normal(size=REFERENCE_ROWS),
                 "speed": rng(5).uniform(0, 60, REFERENCE_ROWS)}  # fmt: skip
    ratio = rng(14).normal(size=ROWS)
    ratio[:30] = np.inf
    speed = np.array([f"{value:.2f}" for value in rng(15).uniform(0, 60, ROWS)], dtype=object)
    speed[:40] = "fast"
    x = rng(16).normal(size=ROWS)
    x[:60] = 9.0
    window = {"x": x, "z": with_missing(rng(3).exponential(size=ROWS), 0.12),
              "colour": colours(ROWS, (0.48, 0.3, 0.2, 0.02), seed=8), "ratio": ratio, "speed": speed}  # fmt: skip
    return decided(data(reference, window))


def drift_without_labels() -> CheckData:
    reference = {
        "x": rng(1).normal(size=REFERENCE_ROWS),
        "z": with_missing(rng(2).exponential(size=REFERENCE_ROWS), 0.3),
        "new": with_missing(np.zeros(REFERENCE_ROWS), 1.0),
    }
    window = {"x": rng(5).normal(1.5, 1, ROWS), "z": rng(6).exponential(size=ROWS), "new": rng(7).normal(size=ROWS)}
    quiet = labels("insufficient", n=0, coverage=0.0, mean=None, deviation=None, late_share=None, mean_delay_hours=None)
    check = data(reference, window, losses=False, performance=no_labels(), labels=quiet)
    return decided(
        check, "kept_champion", **{**compared("inconclusive", 0.0, 0.0), "lower_bound": None, "improvement": None}
    )


def too_few_rows() -> CheckData:
    few = performance("insufficient", 0.19, n=40, due=41, increase=None, p_value=None, loss_change=None)
    check = data(
        steady(REFERENCE_ROWS, 1), steady(41, 11), performance=few, labels=labels("insufficient", n=40, due=41)
    )
    return decided(check)


def no_rows() -> CheckData:
    none = labels("insufficient", n=0, due=0, coverage=None, mean=None, deviation=None, late_share=None,
                  mean_delay_hours=None)  # fmt: skip
    nothing = no_labels(due=0, labels_missing=False)
    return decided(data(steady(REFERENCE_ROWS, 1), {}, performance=nothing, labels=none))


def broken_labels() -> CheckData:
    found = [
        finding("invalid", "broken", "120 labels from 3 to 4 March are neither 0 nor 1.", 2),
        finding("single_value", "broken", "300 labels in a row are 0; the longest run of the reference has 9."),
        finding("coverage", "broken", "31% of the predictions have a label, 50% are needed."),
    ]
    bad = labels("broken", findings=found, spans=[LABELLED.to_dict()], mean=0.09)
    check = data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=performance(), labels=bad)
    return decided(check, "labels_quarantined", quarantined=(LABELLED,), sentence="Quarantined the labels of toy.")


def changed_labels() -> CheckData:
    found = [
        finding("base_rate", "warn", "the base rate is 61.0%, 40.4% in the reference (p < 0.0001)", 3),
        finding("late", "warn", "210 labels are late"),
    ]
    return decided(data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), labels=labels("warn", mean=0.61, findings=found)))


def quarantined_labels() -> CheckData:
    undefined = performance("undefined", None, n=300, increase=None, p_value=None, loss_change=None,
                            current={"brier": {"value": None, "n": 300}})  # fmt: skip
    held = labels("quarantined", n=300, quarantined={"hours": 72, "rows": 900}, findings=[
        finding("base_rate", "broken", "the base rate is 2.0%, 40.4% in the reference (p < 0.0001)", 3)])  # fmt: skip
    return decided(data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=undefined, labels=held))


def regression_declined() -> CheckData:
    now = {"mae": {"value": 11.9, "standard_error": 0.3, "n": 1410}}
    bad = performance(
        "degraded", 11.9, metric="mae", current=now, max_degradation=1.0, increase=3.6, p_value=1e-9, loss_change=3.6,
        explained=4.1, unexplained=-0.5, reference={"mae": {"value": 8.3, "standard_error": 0.2, "n": 900}},
        window=WINDOW.earlier(2 * DAY).to_dict(),
    )  # fmt: skip
    window = {**steady(ROWS, 11), "x": rng(5).normal(2, 1, ROWS)}
    found = labels(mean=21.4, deviation=16.2, reference={"n": 4900, "mean": 17.9, "deviation": 13.1})
    check = data(steady(REFERENCE_ROWS, 1), window, config=REGRESSION, performance=bad, labels=found)
    return decided(check, "declined", sentence="Ada declined the promotion of version 3.", version=1)


def outputs_moved() -> CheckData:
    check = data({"x": rng(1).normal(size=REFERENCE_ROWS)}, {"x": rng(2).normal(2, 1, ROWS)})
    assert check.drift is not None
    moved = check.drift.features["x"].model_copy(update={"role": "output"})
    quiet = data({"x": rng(1).normal(size=REFERENCE_ROWS)}, {"x": rng(2).normal(size=ROWS)})
    assert quiet.drift is not None
    features = {"score": moved, **quiet.drift.features}
    drift = quiet.drift.model_copy(update={"features": features, "status": "warn"})
    return decided(
        replace(quiet, drift=drift, charts={**quiet.charts, "score": replace(check.charts["x"], name="score")})
    )


ALARM = {
    "model": "toy",
    "since": WINDOW.start + timedelta(hours=7),
    "opened_at": WINDOW.start + timedelta(hours=15),
    "rows_since": 1_900,
}


def live_alarms() -> CheckData:
    """One of four columns has changed, as an alarm says; the others are judged otherwise."""
    reference = {**steady(REFERENCE_ROWS, 1), "still": rng(4).normal(size=REFERENCE_ROWS)}
    window = {**steady(ROWS, 11), "x": rng(5).normal(1.2, 1, ROWS), "still": rng(14).normal(size=ROWS)}
    corrupt = "The saved state of the live monitors could not be read, so they were started afresh."
    alarms = (
        live_alarm("x", **ALARM),
        live_alarm("z", evidence=6.3, **ALARM),
        live_alarm("colour", alarm_id="old", **{**ALARM, "version": 4}),
        live_alarm("state", kind="fault", evidence=None, bound=None, sentence=corrupt, **ALARM),
    )
    return decided(data(reference, window), alarms=alarms)


def live_alarm_of_harm() -> CheckData:
    """An alarm shows harm that no single window shows, and a retraining answers it."""
    sentence = "The mean loss of labelled predictions is above 0.18."
    alarm = live_alarm("loss", kind="harm", sentence=sentence, **ALARM)
    few = performance("degraded", 0.181, p_value=0.09, alpha=0.05, alarms=[alarm.to_dict()])
    check = data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11), performance=few)
    return decided(check, "promoted", alarms=(alarm,), **compared("pass", 0.0312, 0.0104))


def live_alarm_not_confirmed() -> CheckData:
    return decided(data(steady(REFERENCE_ROWS, 1), steady(ROWS, 11)), alarms=(live_alarm("z", evidence=6.3, **ALARM),))


def live_alarm_left_open() -> CheckData:
    few = performance("insufficient", 0.19, n=40, due=41, increase=None, p_value=None, loss_change=None)
    check = data(
        steady(REFERENCE_ROWS, 1), steady(41, 11), performance=few, labels=labels("insufficient", n=40, due=41)
    )
    return decided(check, alarms=(live_alarm("z", **ALARM),))


def traps() -> CheckData:
    """What other tools get wrong (docs/statistics.md): outliers, tiny scales, one unseen category, many categories."""
    rare = np.array([f"c{i:02d}" for i in range(30)], dtype=object)
    unseen = colours(ROWS, seed=9)
    unseen[0] = "never seen"
    x = rng(1).normal(size=REFERENCE_ROWS)
    reference = {"outlier": np.r_[x[:-1], 1e6], "tiny": 1e-5 * x, "unseen": colours(REFERENCE_ROWS, seed=3),
                 "thirty": rng(4).choice(rare, REFERENCE_ROWS),
                 "atoms": rng(5).integers(0, 2, REFERENCE_ROWS) / 1}  # fmt: skip
    window = {"outlier": np.r_[rng(6).normal(1, 1, ROWS - 1), 1e6], "tiny": 1e-5 * (rng(7).normal(size=ROWS) + 5),
              "unseen": unseen, "thirty": rng(8).choice(rare, ROWS), "atoms": np.full(ROWS, 0.9)}  # fmt: skip
    return decided(data(reference, window))


def names_with_markup() -> CheckData:
    reference = {MARKUP: rng(1).normal(size=REFERENCE_ROWS), "a\nb\x1b[2J": colours(REFERENCE_ROWS, seed=2)}
    window = {MARKUP: rng(5).normal(1.5, 1, ROWS), "a\nb\x1b[2J": np.array(["<b>bold</b>", "</script>"] * (ROWS // 2))}
    return decided(data(reference, window), "quarantined", quarantined=(WINDOW,))


def without_anything_but_drift() -> CheckData:
    """A version that was deleted from MLflow, and a check whose other reports are gone."""
    check = data({"x": rng(1).normal(size=REFERENCE_ROWS)}, {"x": rng(2).normal(2, 1, ROWS)})
    return replace(
        check, quality=None, performance=None, labels=None, charts={}, columns={}, series=(), measured=None,
        without_charts="The distributions are not shown, because the version is gone.",
        without_series="No labels before this window were summed.", links=CheckLinks(),
    )  # fmt: skip


CASES: dict[str, Callable[[], CheckData]] = {
    case.__name__: case
    for case in (
        all_clear, harm_promoted, harm_champion_kept, harm_staged, harm_being_retrained, harm_in_the_long_run,
        broken_data, broken_but_released, faulty_data, drift_without_labels, too_few_rows, no_rows, broken_labels,
        changed_labels, quarantined_labels, regression_declined, outputs_moved, live_alarms, live_alarm_of_harm,
        live_alarm_not_confirmed, live_alarm_left_open, traps, names_with_markup, without_anything_but_drift,
    )
}  # fmt: skip
