"""A message of every kind, made by the functions that compose them, from the reports of the flights' checks.

They are what golden renderings and the pictures of the documentation show.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from keel.alerts.findings.check import CheckFacts
from keel.alerts.messages.alerts import compose_alerts
from keel.alerts.messages.approval import compose_approval
from keel.alerts.messages.check import compose_check
from keel.alerts.messages.digest import compose_digest
from keel.alerts.messages.event import compose_event
from keel.alerts.messages.pipeline import compose_failure
from keel.alerts.messages.reconciled import compose_findings
from keel.alerts.messages.sample import compose_test
from keel.alerts.records import ALL_MODELS, Alert, Change, Message, News, Notice, State, fingerprint, message_identity
from keel.config import Kind, ModelConfig, Severity
from keel.monitoring.alarms import Judgement, Verdict
from keel.monitoring.records import (
    DecisionRecord,
    LiveAlarm,
    MessagePicture,
    Outcome,
    ReconcileRecord,
    StoredDriftReport,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredQualityReport,
)
from keel.reports.publication import PublishedReport

DATA = Path(__file__).parents[2] / "data" / "alerts" / "flights.json"
NOW = datetime(2013, 7, 1, 0, 4, tzinfo=UTC)
MODEL = "flight_delay"
RUN_OF = "https://airflow.example.com/dags/flight_delay.drift_check/runs/scheduled__{:%Y-%m-%d}"
RUN = RUN_OF.format(NOW)
REPORT = "https://mlflow.example.com/#/experiments/1/runs/9f2c/artifacts/{:%Y-%m-%d}T00_check_168h/report.html"
VERSION = "https://mlflow.example.com/#/models/flight_delay/versions/3"


def config(model: str = MODEL, **alerts: Any) -> ModelConfig:
    """Return the configuration of the example."""
    return ModelConfig.model_validate(
        {
            "model": model,
            "owner": "ml-platform",
            "target": {"name": "late", "kind": "binary", "label_delay": "24h"},
            "features": {name: "numeric" for name in ("temp", "dewp", "pressure", "wind_speed", "humid")},
            "performance": {"metric": "brier", "max_degradation": 0.01},
            "retrain": {"pipeline": "models.flight_delay.pipeline"},
            "alerts": {
                "email": ["ml-oncall@example.com"],
                "runbook": "https://wiki.example.com/flight-delay",
                **alerts,
            },
        }
    )


@cache
def _stored() -> dict[str, Any]:
    return json.loads(DATA.read_text(encoding="utf-8"))


def check(name: str) -> dict[str, Any]:
    """Return the records of a check of the flights: ``promoted``, ``kept`` or ``drift``."""
    stored = _stored()[name]
    picture = MessagePicture.from_dict(stored["picture"]) if stored["picture"] else None
    decision = DecisionRecord.from_dict(stored["decision"])
    end = decision.window.end
    return {
        "decision": decision,
        "outcome": Outcome.from_dict(stored["outcome"]),
        "quality": StoredQualityReport.from_dict(stored["quality"]),
        "drift": StoredDriftReport.from_dict(stored["drift"]),
        "performance": StoredPerformanceReport.from_dict(stored["performance"]),
        "labels": StoredLabelsReport.from_dict(stored["labels"]),
        "report": PublishedReport("", picture, address=REPORT.format(end)),
        "run_url": RUN_OF.format(end),
    }


def of_check(about: Notice, records: dict[str, Any], *, by: ModelConfig | None = None, **more: Any) -> Message:
    """Compose the message about a check from records such as those of `check`, as soon as its window is over."""
    later = records["decision"].window.end - NOW.replace(minute=0)
    rest = {"now": NOW + later, **records, **more}
    facts = {each.name: rest.pop(each.name) for each in fields(CheckFacts) if each.name in rest}
    return compose_check(by or config(), _moved(about, later), CheckFacts(**facts), **rest)


def _moved(about: Notice, later: timedelta) -> Notice:
    """Return a notice with all times of its alerts moved."""

    def alert_then(each: Alert) -> Alert:
        times = ("first_seen", "last_seen", "told_at", "resolved_at")
        return each.model_copy(update={name: at + later for name in times if (at := getattr(each, name))})

    news = tuple(each.model_copy(update={"alert": alert_then(each.alert)}) for each in about.news)
    return about.model_copy(update={"news": news, "open_alerts": tuple(map(alert_then, about.open_alerts))})


def alert(
    kind: Kind, subject: str = "", severity: Severity = Severity.WARNING, sentence: str = "", **more: Any
) -> Alert:
    """Return an alert that fires since the last check."""
    model = more.pop("model", MODEL)
    values = {
        "alert_id": fingerprint(model, kind, f"{subject} 1"),
        "fingerprint": fingerprint(model, kind, subject),
        "model": model,
        "kind": kind,
        "subject": subject,
        "severity": severity,
        "state": State.FIRING,
        "sentence": sentence,
        "first_seen": NOW.replace(minute=0),
        "last_seen": NOW.replace(minute=0),
    }
    return Alert(**{**values, **more})


def firing(*alerts: Alert, change: Change = Change.FIRING) -> tuple[News, ...]:
    """Return alerts as news."""
    return tuple(News(alert=each, change=change) for each in alerts)


def over(each: Alert, *, days: float, resolution: str | None = None) -> News:
    """Return an alert that is over."""
    start = NOW.replace(minute=0) - timedelta(days=days)
    ended = each.model_copy(
        update={
            "state": State.RESOLVED,
            "first_seen": start,
            "resolved_at": NOW.replace(minute=0),
            "resolution": resolution,
            "told_severity": each.severity,
            "told_at": start,
        }
    )
    return News(alert=ended, change=Change.RESOLVED, lasted=days * 86400)


def notice(name: str, news: tuple[News, ...], **more: Any) -> Notice:
    """Return a notice with an id of its own."""
    open_alerts = tuple(each.alert for each in news if each.change is not Change.RESOLVED and each.alert.is_open)
    return Notice(**{"message_id": message_identity(name), "news": news, "open_alerts": open_alerts, **more})


def harm(sentence: str = "Brier score is 0.2491, 0.0922 worse than the holdout's 0.1569 on 6,216 labels") -> Alert:
    """Return an alert about performance."""
    return alert(Kind.PERFORMANCE, "", Severity.ERROR, sentence, rank=0.09)


def moved(name: str, severity: Severity = Severity.WARNING, rank: float = 0.01, **more: Any) -> Alert:
    """Return an alert about a drifted input."""
    return alert(Kind.DATA_DRIFT, name, severity, f"{name} has drifted", rank=rank, **more)


def promoted() -> Message:
    event = alert(
        Kind.PROMOTION, "version 3", Severity.INFO, "Promoted version 3", state=State.RESOLVED, resolved_at=NOW
    )
    news = firing(event, change=Change.EVENT)
    return of_check(notice("promoted", news), check("promoted"), version_url=VERSION)


def incident() -> Message:
    news = (*firing(harm()), *firing(moved("temp", rank=0.02), moved("visib", rank=0.012)))
    older = moved("pressure", first_seen=NOW - timedelta(days=12), told_at=NOW - timedelta(days=12))
    about = notice("incident", news)
    about = about.model_copy(update={"open_alerts": (*about.open_alerts, older)})
    return of_check(about, check("kept"), version_url=VERSION)


def drift() -> Message:
    facts = check("drift")
    facts["performance"] = StoredPerformanceReport(status="no_labels", metric="brier", n=0)
    names = facts["drift"].names("drift")
    alerts = [moved(name, Severity.ERROR, 0.03 - 0.001 * place) for place, name in enumerate(names[:7])]
    decided = "7 of 13 features have drifted. No labels have arrived yet. No retraining: the model has none configured."
    facts["decision"] = facts["decision"].model_copy(update={"sentence": decided})
    facts["outcome"] = None
    return of_check(notice("drift", firing(*alerts)), facts)


def resolved() -> Message:
    facts = check("drift")
    clear = "12 checks in a row were clear"
    news = (over(harm(), days=9.25, resolution=clear), over(moved("temp"), days=12, resolution=clear))
    about = notice("resolved", news, references=(message_identity("incident"),))
    left = moved("dewp", told_at=NOW - timedelta(days=3))
    return of_check(about.model_copy(update={"open_alerts": (left,)}), facts)


def broken_data() -> Message:
    facts = check("kept")
    faults = [
        {
            "column": "wind_speed",
            "status": "broken",
            "kind": "missing",
            "share": 1.0,
            "sentence": "all 6,559 values are missing, 0.3% in the reference (q < 0.0001).",
        },
        {
            "column": "temp",
            "status": "warn",
            "kind": "out_of_range",
            "share": 0.12,
            "sentence": "12% of 6,559 values lie outside the reference's range, 0% in the reference (q < 0.0001).",
        },
    ]
    sentence = "wind_speed: all 6,559 values are missing, 0.3% in the reference (q < 0.0001). And 1 more."
    facts["quality"] = StoredQualityReport.from_dict(
        {"status": "broken", "n": 6559, "sentence": sentence, "findings": faults}
    )
    window = facts["decision"].window
    facts["decision"] = facts["decision"].model_copy(
        update={"action": "quarantine", "sentence": f"The data is broken: {sentence}"}
    )
    facts["outcome"] = Outcome(outcome="quarantined", sentence="Quarantined.", version=1, quarantined=(window,))
    facts["report"] = PublishedReport("", None, problem="could not be published: MLflow does not answer")
    found = alert(Kind.DATA_QUALITY, "wind_speed", Severity.ERROR, sentence)
    return of_check(notice("broken", firing(found)), facts)


def no_predictions() -> Message:
    facts = check("kept")
    said = "Nothing was checked: no prediction of the production version arrived in the window"
    facts["quality"] = StoredQualityReport.from_dict({"status": "empty", "n": 0, "sentence": said})
    facts["decision"] = facts["decision"].model_copy(update={"action": "raise_alert", "sentence": f"{said}."})
    facts |= dict.fromkeys(("outcome", "drift", "performance", "labels"))
    facts["report"] = replace(facts["report"], picture=None)
    found = alert(Kind.NO_PREDICTIONS, "", Severity.ERROR, said)
    return of_check(notice("no predictions", firing(found)), facts)


def labels_missing() -> Message:
    facts = check("drift")
    facts["performance"] = StoredPerformanceReport(
        status="insufficient", metric="brier", n=402, due=6500, label_rate=0.06, labels_missing=True
    )
    facts["drift"] = facts["drift"].model_copy(update={"status": "ok", "features": {}})
    facts["report"] = replace(facts["report"], picture=None)
    said = "Labels of only 6% of the 6,500 matured predictions have arrived"
    facts["decision"] = facts["decision"].model_copy(
        update={"sentence": f"{said}. Without labels harm is not detected."}
    )
    facts["outcome"] = None
    return of_check(
        notice("labels", firing(alert(Kind.LABELS_MISSING, "", sentence=said))), facts, by=config(digest=None)
    )


def live_alarm() -> Message:
    facts = check("drift")
    end = facts["decision"].window.end
    since = end - timedelta(hours=7)
    alarm = LiveAlarm.from_dict(
        {
            "alarm_id": "alarm-1",
            "model": MODEL,
            "version": 3,
            "kind": "shift",
            "subject": "carrier",
            "since": since.isoformat(),
            "opened_at": (end - timedelta(hours=6)).isoformat(),
            "rows_since": 420,
            "evidence": 8.1,
            "bound": 6.2,
            "sentence": f"carrier has changed since about {since:%Y-%m-%d %H:%M} UTC, on 420 predictions",
        }
    )
    found = alert(Kind.LIVE_ALARM, "carrier", Severity.ERROR, alarm.sentence)
    facts["outcome"] = None
    facts["judgements"] = (Judgement(alarm, Verdict.CONFIRMED),)
    return of_check(notice("alarm", firing(found)), facts)


def approval() -> Message:
    found = alert(
        Kind.APPROVAL, "version 3", Severity.WARNING, "Version 3 waits for your approval until 2013-07-02 00:00 UTC"
    )
    body = (
        "To be approved by any user with permission.\n\nReport: <https://mlflow.example.com/#/experiments/1/runs/77>\n\n"
        "# Version 3 is better than version 1\n\n"
        "On 19,153 labelled rows neither version has seen, the Brier score is 0.2265 for version 1 and 0.2060 for "
        "version 3.\n\n"
        "| Version | Brier score | ROC AUC |\n|---|---|---|\n| champion 1 | 0.2265 | 0.688 |\n"
        "| challenger 3 | 0.2060 | 0.751 |\n"
    )
    return compose_approval(
        config(),
        notice("approval", firing(found)),
        question="Promote flight_delay version 3?",
        body=body,
        answer_url=f"{RUN}/tasks/approve/required_actions",
        now=NOW,
    )


def answered() -> Message:
    found = over(alert(Kind.APPROVAL, "version 3"), days=0.13, resolution="Version 3 was approved by dana")
    return compose_approval(
        config(),
        notice("answered", (found,), references=(message_identity("approval"),)),
        question="Promote flight_delay version 3?",
        body="",
        answer_url=RUN,
        now=NOW,
    )


def rollback() -> Message:
    sentence = (
        "Version 3 is worse than version 1 on the same 2,310 labelled predictions: its mean Brier score is 0.2710, "
        "that of version 1 0.2120."
    )
    decision = DecisionRecord.from_dict(
        {
            "decision_id": "watch-1",
            "model": MODEL,
            "version": 3,
            "window": {"start": "2013-06-29T00:00:00+00:00", "end": "2013-07-01T00:00:00+00:00"},
            "action": "watch",
            "sentence": sentence,
            "verdict": "harm",
            "branch": "rollback",
            "target": 1,
            "watched": {"verdict": "harm", "sentence": sentence, "n": 2310, "version": 3, "previous": 1},
        }
    )
    outcome = Outcome(
        outcome="rolled_back",
        sentence="Rolled back to version 1; version 3 is quarantined.",
        version=1,
        rolled_back_version=3,
    )
    found = alert(Kind.ROLLBACK, "version 1", Severity.ERROR, outcome.sentence, state=State.RESOLVED, resolved_at=NOW)
    return compose_event(
        config(),
        notice("rollback", firing(found, change=Change.EVENT)),
        decision=decision,
        outcome=outcome,
        run_url=RUN,
        version_url=VERSION,
        now=NOW,
    )


def probation() -> Message:
    sentence = (
        "The version passed its probation: on 5,979 labelled predictions its mean Brier score is 0.1880, that of the "
        "version before it 0.1920."
    )
    decision = DecisionRecord.from_dict(
        {
            "decision_id": "watch-2",
            "model": MODEL,
            "version": 3,
            "window": {"start": "2013-06-24T00:00:00+00:00", "end": "2013-07-01T00:00:00+00:00"},
            "action": "watch",
            "sentence": sentence,
            "verdict": "survived",
            "branch": "confirm",
            "watched": {"verdict": "survived", "sentence": sentence, "n": 5979, "version": 3, "previous": 1},
        }
    )
    outcome = Outcome(outcome="confirmed", sentence=sentence, version=3)
    found = alert(Kind.PROBATION, "version 3", Severity.INFO, sentence, state=State.RESOLVED, resolved_at=NOW)
    return compose_event(
        config(),
        notice("probation", firing(found, change=Change.EVENT)),
        decision=decision,
        outcome=outcome,
        run_url=RUN,
        now=NOW,
    )


def experiment() -> Message:
    sentence = (
        "experiment-f4c99f576ef2af23: Version 4 against version 3: no difference is shown on all outcomes. On 9,943 "
        "and 10,057 outcomes, its mean Brier score is 0.2413, that of version 3 0.2160. The improvement is -0.02529, "
        "between -0.05688 and 0.00629 (α = 0.05)."
    )
    decision = DecisionRecord.from_dict(
        {
            "decision_id": "end-1",
            "model": MODEL,
            "version": 3,
            "window": {"start": "2013-06-01T00:00:00+00:00", "end": "2013-07-01T00:00:00+00:00"},
            "action": "end_experiment",
            "sentence": sentence,
            "branch": "keep_champion",
            "experiment_id": "experiment-f4c99f576ef2af23",
        }
    )
    outcome = Outcome.from_dict(
        {
            "outcome": "kept_champion",
            "sentence": f"Kept champion 3: {sentence}",
            "version": 3,
            "champion": 3,
            "challenger": 4,
            "basis": "experiment",
            "loss": "Brier score",
            "n": 20000,
            "champion_value": 0.2160,
            "challenger_value": 0.2413,
            "improvement": -0.02529,
            "lower_bound": -0.05688,
            "margin": 0.0,
            "level": 0.05,
            "verdict": "inconclusive",
            "holdout": {"start": "2013-06-01T01:00:00+00:00", "end": "2013-07-01T00:00:00+00:00"},
        }
    )
    found = alert(Kind.EXPERIMENT, "version 4", Severity.INFO, outcome.sentence, state=State.RESOLVED, resolved_at=NOW)
    return compose_event(
        config(),
        notice("experiment", firing(found, change=Change.EVENT)),
        decision=decision,
        outcome=outcome,
        run_url=RUN,
        now=NOW,
    )


def failure() -> Message:
    found = alert(
        Kind.PIPELINE_FAILURE,
        "flight_delay.drift_check",
        Severity.ERROR,
        "Task count_window of flight_delay.drift_check failed",
    )
    return compose_failure(
        config(),
        notice("failure", firing(found)),
        dag_id="flight_delay.drift_check",
        run_id="scheduled__2013-07-01T00:00:00+00:00",
        task_id="count_window",
        error="StoreUnavailable: the store at postgresql://keel:***@db:5432/keel does not answer: connection refused",
        log_url=f"{RUN}/tasks/count_window",
        run_url=RUN,
        now=NOW,
    )


def recovered() -> Message:
    found = over(
        alert(Kind.PIPELINE_FAILURE, "flight_delay.drift_check", Severity.ERROR),
        days=0.25,
        resolution="the run scheduled__2013-07-01T06:00:00+00:00 succeeded",
    )
    return compose_failure(
        config(),
        notice("recovered", (found,), references=(message_identity("failure"),)),
        dag_id="flight_delay.drift_check",
        run_id="scheduled__2013-07-01T06:00:00+00:00",
        task_id=None,
        error=None,
        log_url=None,
        run_url=RUN,
        now=NOW,
    )


def ledger() -> Message:
    said = "The ledger does not hold: a row was changed, or is missing"
    found = alert(Kind.LEDGER_BROKEN, "keel.maintenance", Severity.CRITICAL, said, model=ALL_MODELS)
    return compose_failure(
        None,
        notice("ledger", firing(found)),
        dag_id="keel.maintenance",
        run_id="scheduled__2013-07-01T03:00:00+00:00",
        task_id="verify_ledger",
        error="LedgerBroken: row 17 of flight_delay: its hash does not fit its content",
        log_url=RUN,
        now=NOW,
    )


def out_of_band() -> Message:
    said = "The alias champion was moved from version 3 to version 2 outside Keel, by an unknown person"
    found = alert(Kind.OUT_OF_BAND, "champion", Severity.WARNING, said, state=State.RESOLVED, resolved_at=NOW)
    record = ReconcileRecord(model=MODEL, findings=(f"{said}.",))
    return compose_findings(
        config(), notice("out of band", firing(found, change=Change.EVENT)), found=record, run_url=RUN, now=NOW
    )


def lost_records() -> Message:
    said = "12 predictions of 1 July 00:00 could not be stored: column temp holds text"
    found = alert(Kind.LOST_RECORDS, "", Severity.ERROR, said)
    record = ReconcileRecord(model=MODEL, findings=(f"{said}.",), undelivered=(f"{said}.",))
    return compose_findings(config(), notice("lost", firing(found)), found=record, run_url=RUN, now=NOW)


def overdue() -> Message:
    said = (
        "The check that was due on 2013-06-30 18:00 UTC has not decided. The last one decided on 2013-06-30 12:03 UTC."
    )
    found = alert(Kind.CHECK_OVERDUE, "", Severity.ERROR, said)
    return compose_alerts(config(), notice("overdue", firing(found)), now=NOW)


def channel() -> Message:
    found = alert(
        Kind.CHANNEL,
        "slack",
        Severity.ERROR,
        "Messages by slack do not arrive: neither the Airflow connection 'slack_default' (a bot's token as its "
        "password) nor 'slack_webhook_default' (an incoming webhook's address as its password) exists.",
        model=ALL_MODELS,
        evidence={"channel": "slack", "recipient": "#ml-alerts", "delivery": "671b66f041ce8cb0"},
    )
    return compose_alerts(None, notice("channel", firing(found)), now=NOW)


def reminder() -> Message:
    found = harm().model_copy(update={"first_seen": NOW.replace(minute=0) - timedelta(days=3)})
    news = firing(found, change=Change.REMINDER)
    return compose_alerts(
        config(), notice("reminder", news, references=(message_identity("incident"),)), run_url=RUN, now=NOW
    )


def digest() -> Message:
    day = timedelta(days=1)
    news = (
        *firing(
            moved("temp", first_seen=NOW - 5 * day).model_copy(
                update={"sentence": "temp has drifted (PSI 2.44 above chance, limit 0.25)"}
            ),
            alert(
                Kind.PREDICTION_DRIFT,
                "score",
                sentence="score has moved (PSI 0.13 above chance, limit 0.1)",
                first_seen=NOW - 2 * day,
            ),
        ),
        over(moved("dewp"), days=6, resolution="version 3 was promoted"),
        *firing(
            alert(
                Kind.RETRAINED,
                "version 2",
                Severity.INFO,
                "Kept champion 1: version 2 is not better",
                state=State.RESOLVED,
                resolved_at=NOW,
            ),
            change=Change.EVENT,
        ),
    )
    return compose_digest(
        {MODEL: notice("digest", news)}, configs={MODEL: config()}, message_id=message_identity("digest"), now=NOW
    )


def digest_of_models() -> Message:
    day = timedelta(days=1)
    notices = {}
    for number, model in enumerate((MODEL, "taxi_fare", "churn")):
        news = firing(
            *(
                alert(
                    Kind.DATA_DRIFT,
                    name,
                    sentence=f"{name} has drifted",
                    model=model,
                    rank=0.1 * number,
                    first_seen=NOW - day * (number + 1),
                )
                for name in ("temp", "dewp", "pressure", "humid", "visib")[: 3 + number]
            )
        )
        notices[model] = notice(f"digest {model}", news)
    configs = {model: config(model) for model in notices}
    return compose_digest(notices, configs=configs, message_id=message_identity("digests"), now=NOW)


def test() -> Message:
    return compose_test(config(), channel="email", now=NOW)


SAMPLES: dict[str, Callable[[], Message]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        incident, promoted, drift, resolved, broken_data, no_predictions, labels_missing, live_alarm, approval,
        answered, rollback, probation, experiment, failure, recovered, ledger, out_of_band, lost_records, overdue,
        channel, reminder, digest, digest_of_models, test,
    )
}  # fmt: skip
"""A message by name."""
