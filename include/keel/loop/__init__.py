"""The monitoring loop from top to bottom: count, check, decide, quarantine or retrain, notify, record.

    resolve_window         which window a run checks
    alarms_to_judge        which live alarms it judges, and the window that they ask for
    count_window           counts of the predictions that arrived since the last run
    check_data_quality     three reports on the window
    check_data_drift
    check_performance
    decide                 one action: all clear, alert, quarantine or retrain
    quarantine, retrain    what the decision asks for
    publish_report         the page of the check, for the task's log and in MLflow
    notify                 what people are told of it, through the door of `keel.alerts`
    record                 the outcome, stored with the decision; the alarms that it judged are closed
    next_check             whether alarms are left for another run

In a notebook, `check` takes the steps up to a decision at once, and does not act on it.

`keel.rollout` continues after a retrain: it compares, stages or promotes the new version, watches it and rolls it back.

Each step takes a workspace, a model's configuration and the record that an earlier step returned
(`keel.monitoring.records`), and returns a record. An Airflow operator, the command line and a notebook call the same
functions. A step that runs again for the same window leaves the same rows.
"""

from keel.loop.alarms import alarms_to_judge, next_check
from keel.loop.checks import check_data_drift, check_data_quality, check_labels, check_performance
from keel.loop.decisions import decide, record, request_retrain
from keel.loop.notification import notify
from keel.loop.publishing import describe_report, publish_report
from keel.loop.quarantining import quarantine
from keel.loop.result import CheckResult, check
from keel.loop.retraining import retrain
from keel.loop.windows import count_window, resolve_window

__all__ = [
    "CheckResult",
    "alarms_to_judge",
    "check",
    "check_data_drift",
    "check_data_quality",
    "check_labels",
    "check_performance",
    "count_window",
    "decide",
    "describe_report",
    "next_check",
    "notify",
    "publish_report",
    "quarantine",
    "record",
    "request_retrain",
    "resolve_window",
    "retrain",
]
