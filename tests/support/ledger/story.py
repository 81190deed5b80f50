"""The ledger rows of nine months of a model, as release 0.1.0 wrote them, and later ones, with every action."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from keel.ledger.entries import Action, Entry

START = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
COMPARED = {
    "model": "flight_delay", "report_id": "comparison-332b204ae4887fc4", "verdict": "pass", "metric": "brier",
    "n": 19153, "champion": 1, "challenger": 3, "champion_value": 0.2046286320410551,
    "challenger_value": 0.1841035670118277, "improvement": 0.020525065029227407, "lower_bound": 0.018719401458663888,
    "standard_error": 0.0010977655038582905, "margin": 0.0, "alpha": 0.05, "level": 0.05, "prior_comparisons": 0,
    "reason": "better by 0.0205, by at least 0.0187 at 95%", "forced_by": None, "requested_by": None,
    "holdout": {"start": "2013-06-09T00:00:00+00:00", "end": "2013-06-30T00:00:00+00:00"},
    "sentence": "Challenger 3 against champion 1: better by 0.0205, by at least 0.0187 at 95%.",
}  # fmt: skip
APPROVAL = {
    "report_id": "comparison-332b204ae4887fc4", "challenger": 3, "champion": 1, "approver": "grace",
    "approver_id": "17", "requesters": ["ada"], "dag_id": "flight_delay.promote",
    "responded_at": "2026-03-03T10:22:00+00:00",
}  # fmt: skip


def entry(seq: int, action: str, body: Any, *, actor: str = "ada", days: int = 0, at: datetime | None = None) -> Entry:
    when = at or START + timedelta(days=days, minutes=7 * seq)
    return Entry(seq, "flight_delay", when, actor, str(action), 0, 0, body, "0" * 64, "f" * 64)


def aliases(production: int | None, staging: int | None = None, previous: int | None = None) -> dict[str, int | None]:
    return {"production": production, "staging": staging, "previous": previous}


def registered(version: int, why: str, cut: str, end: str) -> dict[str, Any]:
    return {
        "run_id": "manual__2026-03-02",
        "artifacts": {
            "version": version, "run_id": "9e4626b7",
            "files": {path: "a" * 64 for path in ("model/MLmodel", "model/model.skops", "keel/grid.npz")},
        },
        "statuses": {str(version): {"status": "candidate", "reason": why}},
        "evidence": {
            "sentence": f"Version {version} was registered: {why}",
            "tags": {
                "keel.training_start": "2013-01-01T00:00:00+00:00", "keel.training_end": f"{cut}T00:00:00+00:00",
                "keel.holdout_end": f"{end}T00:00:00+00:00",
            },
        },
    }  # fmt: skip


def compared(**changes: Any) -> dict[str, Any]:
    return {**COMPARED, **changes}


TRIED = {
    "experiment_id": "experiment-2f5be2ae1a3fd3e2", "model": "flight_delay", "champion": 3, "challenger": 6,
    "mode": "ab", "stages": [{"share": 0.05, "seconds": 86400.0}, {"share": 0.5, "seconds": None}], "salt": "s",
    "metric": "brier", "margin": 0.0, "alpha": 0.05, "max_n": 20000, "started_at": "2013-08-10T00:00:00+00:00",
    "promised": None, "most": 5270400.0,
}  # fmt: skip


KEPT = compared(
    verdict="fail", n=19087, challenger=2, champion_value=0.2217, challenger_value=0.22325, improvement=-0.00155,
    lower_bound=-0.00231, reason="not better: -0.0015 (lower bound -0.0023)",
    holdout={"start": "2013-04-09T00:00:00+00:00", "end": "2013-04-30T00:00:00+00:00"},
)  # fmt: skip
SCARCE = compared(
    verdict="inconclusive", n=40, challenger=6, champion=3, champion_value=None, challenger_value=None,
    improvement=None, lower_bound=None, reason="inconclusive: the holdout has 40 usable rows, 200 are needed",
    sentence="Challenger 6 against champion 3: inconclusive: the holdout has 40 usable rows, 200 are needed.",
)  # fmt: skip
FORCED = compared(
    verdict="fail", n=18815, challenger=5, champion=3, champion_value=0.15423, challenger_value=0.15524,
    improvement=-0.001, lower_bound=-0.0031, reason="not better: -0.0010 (lower bound -0.0031)", forced_by="bob",
    requested_by="bob", holdout={"start": "2013-07-09T00:00:00+00:00", "end": "2013-07-30T00:00:00+00:00"},
    sentence="Challenger 5 against champion 3: not better: -0.0010 (lower bound -0.0031). bob forces it: the new "
             "terminal opens tomorrow.",
)  # fmt: skip
HARM = (
    "The version is worse than the one before it by its mean Brier loss: on 1,150 labelled predictions its mean Brier "
    "loss was 0.2511, the version before it would have had 0.1902; a version no worse comes this far with a chance of "
    "at most 1%."
)

STORY = [
    entry(1, Action.REGISTER, registered(1, "Asked for: first model", "2013-03-11", "2013-03-25")),
    entry(2, Action.PROMOTE, {
        "from": aliases(None), "to": aliases(1),
        "evidence": {"verdict": "pass", "reason": "version 1 is the first; there is no champion to compare it with",
                     "n": 0, "champion": None, "challenger": 1, "forced_by": None, "requested_by": None,
                     "sentence": "Challenger 1: version 1 is the first; there is no champion to compare it with.",
                     "holdout": {"start": "2013-03-11T00:00:00+00:00", "end": "2013-03-25T00:00:00+00:00"}},
    }),
    entry(3, Action.REGISTER, registered(2, "Drift in 9 of 26 columns, and no labels to judge harm by.", "2013-04-09",
                                         "2013-04-30"), actor="airflow", days=1),
    entry(4, Action.KEEP_CHAMPION, {
        "evidence": KEPT, "statuses": {"2": {"status": "rejected", "reason": KEPT["reason"]}},
    }, actor="airflow", days=1),
    entry(5, Action.QUARANTINE, {"evidence": {
        "sentence": "Set flight_delay aside in 2 stretches from 2013-05-01 03:00 to 2013-05-02 16:00 UTC.",
        "quarantined": [{"start": "2013-05-01T03:00:00+00:00", "end": "2013-05-01T06:00:00+00:00"},
                        {"start": "2013-05-01T22:00:00+00:00", "end": "2013-05-02T16:00:00+00:00"}],
    }}, actor="airflow", days=2),
    entry(6, Action.RELEASE_QUARANTINE, {"evidence": {
        "sentence": "Released …",
        "released": [{"start": "2013-05-01T03:00:00+00:00", "end": "2013-05-01T06:00:00+00:00"}],
    }}, days=2),
    entry(7, Action.STAGE, {
        "from": aliases(1), "to": aliases(1, 3), "evidence": compared(sentence="Offered version 3, which waits …"),
    }, days=3),
    entry(8, Action.APPROVE, {
        "approval": APPROVAL, "evidence": {"sentence": "Version 3 was approved by grace."},
    }, actor="grace", days=3),
    entry(9, Action.PROMOTE, {
        "from": aliases(1, 3), "to": aliases(3, previous=1), "evidence": COMPARED, "approval": APPROVAL,
        "probation": {"version": 3, "previous": 1, "since": "2013-07-01T00:00:00+00:00",
                      "until": "2013-07-08T00:00:00+00:00"},
    }, days=3),
    entry(10, Action.CONFIRM, {"probation": None, "evidence": {
        "version": 3,
        "sentence": "The version has survived its probation: on 5,210 labelled predictions its mean Brier loss was "
                    "0.1871, the version before it would have had 0.2102.",
    }}, actor="airflow", days=5),
    entry(11, Action.KEEP_CHAMPION, {"evidence": SCARCE}, actor="airflow", days=6),
    entry(12, Action.STAGE, {
        "from": aliases(3, previous=1), "to": aliases(3, 4, 1), "evidence": compared(champion=3, challenger=4),
    }, days=7),
    entry(13, Action.DECLINE, {
        "from": aliases(3, 4, 1), "to": aliases(3, None, 1),
        "approval": {**APPROVAL, "challenger": 4, "champion": 3, "approver": None},
        "statuses": {"4": {"status": "candidate", "reason": "Version 4 was declined by nobody in time."}},
        "evidence": {"sentence": "Version 4 was declined by nobody in time."},
    }, actor="airflow", days=8),
    entry(14, Action.EXPERIMENT_START, {"experiment": TRIED, "evidence": {
        "sentence": "Started experiment-2f5be2ae1a3fd3e2: …", "reason": "the new feed", "requested_by": "ada",
    }}, days=8),
    entry(15, Action.PROMOTE, {
        "from": aliases(3, None, 1), "to": aliases(5, None, 3), "evidence": FORCED, "approval": None,
        "probation": {"version": 5, "previous": 3, "since": "2013-08-01T00:00:00+00:00",
                      "until": "2013-08-08T00:00:00+00:00"},
    }, actor="bob", days=9),
    entry(16, Action.ROLLBACK, {
        "from": aliases(5, None, 3), "to": aliases(3), "probation": None,
        "statuses": {"5": {"status": "quarantined", "reason": HARM},
                     "3": {"status": "production", "reason": "version 5 was taken back"}},
        "evidence": {"sentence": f"Took version 5 back to version 3: {HARM}", "reason": HARM},
    }, actor="airflow", days=9),
    entry(17, Action.OUT_OF_BAND, {
        "from": aliases(3), "to": aliases(1, None, 3),
        "evidence": {"sentence": "The alias production of flight_delay was moved by hand from version 3 to version 1, "
                                 "which serves now.", "findings": []},
    }, actor="airflow", days=10),
    entry(18, Action.EXPERIMENT_END, {"experiment": None, "evidence": {
        "experiment_id": "experiment-2f5be2ae1a3fd3e2", "outcome": "no_difference", "plan": TRIED,
        "sentence": "experiment-2f5be2ae1a3fd3e2: Version 6 against version 3: no difference is shown on all outcomes "
                    "that were planned.",
    }}, actor="keel", days=11),
    entry(19, Action.RELEASE_VERSION, {
        "statuses": {"5": {"status": "archived", "reason": "the harm was a broken feed"}}, "evidence": {},
    }, days=11),
    entry(20, Action.DELETE_VERSION, {
        "statuses": {"2": {"status": "deleted", "reason": "not deployed for 180 days"}}, "evidence": {},
    }, actor="airflow", days=12),
    entry(21, Action.QUARANTINE, {"evidence": {
        "about": "labels", "reason": "All 940 labels from 2013-11-02 05:00 to 2013-11-03 05:00 UTC are 0.",
        "sentence": "Quarantined the labels of flight_delay …",
        "quarantined": [{"start": "2013-11-02T05:00:00+00:00", "end": "2013-11-03T05:00:00+00:00"}],
    }}, actor="airflow", days=13),
    entry(22, Action.CORRECT_LABELS, {"reason": "The airline had sent the flights of another day.", "evidence": {
        "sentence": "940 labels of flight_delay were replaced.", "labels": 940, "sha256": "c" * 64,
        "corrected_at": "2026-03-16T09:00:00+00:00",
    }}, days=14),
    entry(23, Action.SILENCE, {
        "silence": {
            "silence_id": "4f1c9a0e52b7d836", "model": "flight_delay", "kind": "data_drift", "subject": "wind*",
            "until": "2026-03-20T00:00:00+00:00", "actor": "ada", "reason": "The station at JFK is being replaced",
        },
        "evidence": {
            "sentence": "Silenced alerts of data drift about wind* until 20 March 2026 (UTC).",
            "reason": "The station at JFK is being replaced",
        },
    }, days=14),
    entry(24, Action.END_SILENCE, {"silence_id": "4f1c9a0e52b7d836", "evidence": {
        "sentence": "Ended the silence of alerts of data drift about wind* until 20 March 2026 (UTC).",
        "reason": "The station at JFK is being replaced",
    }}, days=15),
    entry(25, Action.ACCEPT_DRIFT, {"evidence": {
        "sentence": "Accepted the drift of temp.", "reason": "The airline flies from warmer airports now",
        "version": 3, "columns": ["temp"],
        "window": {"start": "2026-03-09T00:00:00+00:00", "end": "2026-03-16T00:00:00+00:00"},
    }}, days=15),
    entry(26, Action.WITHDRAW_ACCEPTANCE, {"evidence": {
        "sentence": "Version 3 is compared with its training rows again: temp.",
        "reason": "The warm month was a fault of the sensor", "version": 3, "columns": ["temp"],
    }}, days=16),
]  # fmt: skip
