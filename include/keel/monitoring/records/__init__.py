"""Typed records of what the steps hand to each other and the store keeps.

Importing them loads no numerical library, so that operators may use them when DAG files are parsed.
"""

from keel.monitoring.records.base import DataSlice, JsonObject, Record, Span, Time, WindowField
from keel.monitoring.records.checks import (
    CountedWindow,
    DriftReportRecord,
    HoursAndRows,
    ReportRecord,
    StoredColumn,
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
from keel.monitoring.records.messages import Message, MessagePart, MessagePicture
from keel.monitoring.records.results import (
    ComparisonRecord,
    Evidence,
    Outcome,
    ReconcileRecord,
    TrainedVersion,
)

__all__ = [
    "AlarmStatus",
    "Action",
    "ComparisonRecord",
    "CountedWindow",
    "DataSlice",
    "DecisionRecord",
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
    "Message",
    "MessagePart",
    "MessagePicture",
    "MonitorKind",
    "MonitorStatus",
    "Outcome",
    "ProbationDecision",
    "PromotionRequest",
    "ReconcileRecord",
    "Record",
    "ReportRecord",
    "RollbackRequest",
    "Span",
    "StoredColumn",
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
