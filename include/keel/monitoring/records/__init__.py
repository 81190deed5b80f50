"""Typed records of what the steps hand to each other and the store keeps.

Importing them loads no numerical library, so that operators may use them when DAG files are parsed.
"""

from keel.monitoring.records.answers import DriftAnswer, PerformanceAnswer
from keel.monitoring.records.base import DataSlice, JsonObject, Record, Span, Time, WindowField
from keel.monitoring.records.checks import (
    AcceptedReference,
    CountedWindow,
    DriftReportRecord,
    HoursAndRows,
    ReportRecord,
    StoredColumn,
    StoredConsecutiveReport,
    StoredDriftReport,
    StoredEstimate,
    StoredFinding,
    StoredLabelFinding,
    StoredLabelsReport,
    StoredPerformanceReport,
    StoredProbationReport,
    StoredQualityReport,
    count_drifted,
)
from keel.monitoring.records.decisions import (
    Action,
    DecisionRecord,
    ExperimentDecision,
    ExperimentRequest,
    ProbationDecision,
    PromotionRequest,
    RollbackRequest,
)
from keel.monitoring.records.live import (
    AlarmStatus,
    LiveAlarm,
    LiveProgress,
    LiveState,
    LiveStatus,
    MonitorKind,
    MonitorStatus,
)
from keel.monitoring.records.messages import MessagePicture
from keel.monitoring.records.results import (
    ComparisonRecord,
    Evidence,
    Outcome,
    ReconcileRecord,
    TrainedVersion,
)

__all__ = [
    "AcceptedReference",
    "AlarmStatus",
    "Action",
    "ComparisonRecord",
    "CountedWindow",
    "DataSlice",
    "DecisionRecord",
    "DriftAnswer",
    "DriftReportRecord",
    "Evidence",
    "ExperimentDecision",
    "ExperimentRequest",
    "HoursAndRows",
    "JsonObject",
    "LiveAlarm",
    "LiveProgress",
    "LiveState",
    "LiveStatus",
    "MessagePicture",
    "MonitorKind",
    "MonitorStatus",
    "Outcome",
    "PerformanceAnswer",
    "ProbationDecision",
    "PromotionRequest",
    "ReconcileRecord",
    "Record",
    "ReportRecord",
    "RollbackRequest",
    "Span",
    "StoredColumn",
    "StoredConsecutiveReport",
    "StoredDriftReport",
    "StoredEstimate",
    "StoredFinding",
    "StoredLabelFinding",
    "StoredLabelsReport",
    "StoredPerformanceReport",
    "StoredProbationReport",
    "StoredQualityReport",
    "Time",
    "TrainedVersion",
    "WindowField",
    "count_drifted",
]
