"""Operators of the drift check: count a window, check it three ways, decide, and quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from keel.errors import ConfigError, NoVersionYet
from keel.monitoring.records import CountedWindow, DecisionRecord, Outcome, ReportRecord
from keel_airflow.operators.base import (
    SCHEDULED_INTERVAL_END,
    BranchStepOperator,
    DecisionStepOperator,
    StepOperator,
    TaskResult,
    first_time,
    is_check_again,
    rendered_record,
    requested_by,
    requested_values,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.loop.alarms import Cause
    from keel.workspace import Workspace


JUDGED = (
    "Nothing is left to do: no live alarm is open. If one has started this run, an earlier check has judged it, and "
    "its decision says what came of it."
)


class CountWindowOperator(StepOperator):
    """Resolves the window, and counts its uncounted hours on the reference grid.

    Returns the version, the window and the number of rows in it. Scheduled, asset-triggered and manual runs resolve the
    window by the same function. A cleared run gets the same window again, because ``now`` is the time the run was due.

    A run that a live alarm starts checks the time since the change instead, and every run judges the live alarms that
    are open (`keel.loop.alarms_to_judge`). Where an earlier check has judged the alarms that a run was started for,
    there is nothing left to check: the task is skipped with that reason, and the rest of the run with it.

    Before the model's first version there is nothing to check. The task is then skipped with the reason, and the rest
    of the run with it; in a run by hand it fails, so that the person who started it sees why.

    :param start: first hour of the window, or empty. (templated)
    :param end: hour at which the window ends, or empty. (templated)
    :param interval_end: end of the schedule's interval; empty for other runs. (templated)
    :param now: the time the run was due. (templated)
    """

    template_fields = (*StepOperator.template_fields, "start", "end", "interval_end", "now")

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        interval_end: datetime | str | None = SCHEDULED_INTERVAL_END,
        now: datetime | str = "{{ dag_run.run_after }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.end = end
        self.interval_end = interval_end
        self.now = now

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> CountedWindow:
        """Resolve and count the window."""
        from keel import loop

        now = first_time(self.now)
        with requested_values(ConfigError):
            window = loop.resolve_window(
                config, start=self.start, end=self.end, interval_end=self.interval_end, now=now
            )
        try:
            found = loop.alarms_to_judge(
                workspace, config, window, cause=self.cause(context), run_id=context["run_id"], now=now
            )
            if not found.alarms and is_rung_by_keel(context):
                raise AirflowSkipException(JUDGED)
            return loop.count_window(
                workspace, config, found.window, alarms=found.alarms, since_alarms=found.since_alarms
            )
        except NoVersionYet as error:
            if context["dag_run"].run_type == "manual":
                raise
            raise AirflowSkipException(str(error)) from error

    def cause(self, context: Context) -> Cause:
        """Return what the run is for."""
        run_type = context["dag_run"].run_type
        if run_type == "backfill":
            return "backfill"
        if self.start or self.end:
            return "period"
        return "alarm" if run_type == "asset_triggered" or is_check_again(context) else "check"


class CheckOperator(StepOperator):
    """One check of a counted window.

    Returns the report's id, its status and a sentence that explains it; the log has the report itself. Drift is a
    result, not an error: the task fails only when the check cannot be made.

    :param counted: result of `CountWindowOperator`. (templated)
    """

    template_fields = (*StepOperator.template_fields, "counted")

    def __init__(self, *, counted: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counted = counted

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> ReportRecord:
        """Check the window, and write the report into the log."""
        from keel import loop

        counted = rendered_record(self.counted, CountedWindow)
        report = self.check(workspace, config, counted)
        self.log.info("%s", loop.describe_report(workspace, config, counted, report))
        return report

    def check(self, workspace: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
        """Call one check of the core."""
        raise NotImplementedError


class DataQualityOperator(CheckOperator):
    """Checks the data's quality: schema, missing values, ranges, volume."""

    def check(self, workspace: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
        """Check the window's data quality."""
        from keel import loop

        return loop.check_data_quality(workspace, config, counted)


class DataDriftOperator(CheckOperator):
    """Checks whether inputs and outputs have drifted from the reference."""

    def check(self, workspace: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
        """Check the window for data drift."""
        from keel import loop

        return loop.check_data_drift(workspace, config, counted)


class PerformanceDriftOperator(CheckOperator):
    """Checks whether performance has fallen, on the labels that have matured."""

    def check(self, workspace: Workspace, config: ModelConfig, counted: CountedWindow) -> ReportRecord:
        """Check the performance on matured labels."""
        from keel import loop

        return loop.check_performance(workspace, config, counted)


class DecideOperator(BranchStepOperator):
    """Turns the window's three reports into one action, and runs only its branch.

    :param branches: task or task group by action: ``all_clear``, ``raise_alert``, ``quarantine``, ``retrain``
    :param counted: result of `CountWindowOperator`. (templated)
    """

    template_fields = (*BranchStepOperator.template_fields, "counted")

    def __init__(self, *, counted: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counted = counted

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> DecisionRecord:
        """Decide on the three reports, and store the decision."""
        from keel import loop

        return loop.decide(workspace, config, rendered_record(self.counted, CountedWindow), run_id=context["run_id"])

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Follow the decision's action."""
        return [result["action"]]


class QuarantineOperator(DecisionStepOperator):
    """Quarantines the broken hours of a window, so that no training reads rows of a broken pipeline."""

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Outcome:
        """Quarantine the rows, and return the outcome."""
        from keel import loop

        return loop.quarantine(
            workspace,
            config,
            rendered_record(self.decision, DecisionRecord),
            actor=requested_by(context),
            run_id=context["run_id"],
        )


def is_rung_by_keel(context: Context) -> bool:
    """Return whether a run was started for live alarms only: by Keel's own trigger, or by an earlier run.

    An event is a bell and no evidence. One that pretends to be the trigger's starts a check or, without an open alarm,
    nothing.
    """
    if is_check_again(context):
        return True
    if context["dag_run"].run_type != "asset_triggered":
        return False
    events = [event for found in context["triggering_asset_events"].values() for event in found]
    return bool(events) and all((event.extra or {}).get("from_trigger") for event in events)
