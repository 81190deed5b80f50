"""Operators of the nightly maintenance: reconcile, prune versions, expire rows, compact and verify."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import StepOperator, WorkspaceOperator, requested_by

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.maintenance import ExpiredRows, PrunedVersions
    from keel.monitoring.records import ReconcileRecord
    from keel.reports.publication import ExpiredReports
    from keel.workspace import Workspace


class ReconcileOperator(StepOperator):
    """Completes an interrupted change of a deployment, and adopts aliases that a user moved in MLflow.

    Returns what it completed and found. A second run finds nothing, so a notification must read it here.
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> ReconcileRecord:
        """Reconcile the deployment with the registry."""
        from keel import rollout

        return rollout.reconcile(workspace, config, actor=requested_by(context), run_id=context["run_id"])


class PruneVersionsOperator(StepOperator):
    """Deletes versions that are not deployed and are older than the model's policy keeps them.

    Returns the deleted versions, each with the reason.
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> PrunedVersions:
        """Delete the versions."""
        from keel import maintenance

        return maintenance.prune(
            workspace, config, now=datetime.now(UTC), actor=requested_by(context), run_id=context["run_id"]
        )


class ExpireRowsOperator(StepOperator):
    """Sums performance by the hour, then deletes rows and labels older than the model's ``retention.rows``.

    Returns how many hours and rows were counted, summed and deleted, and why older rows were kept.
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> ExpiredRows:
        """Delete the rows."""
        from keel import maintenance

        return maintenance.expire_rows(workspace, config, now=datetime.now(UTC))


class ExpireReportsOperator(StepOperator):
    """Deletes reports that were published in MLflow longer ago than the model's ``reports.retention``.

    Returns how many it deleted.
    """

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> ExpiredReports:
        """Delete the files."""
        from keel.reports import publication

        return publication.expire(workspace, config, now=datetime.now(UTC))


class CompactStoreOperator(WorkspaceOperator):
    """Compacts the store while other processes read and write it. Returns its size before and after, in bytes."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Compact the store."""
        from keel import maintenance

        with self.workspace() as workspace:
            return maintenance.compact(workspace).to_dict()


class VerifyLedgerOperator(WorkspaceOperator):
    """Verifies the ledger's chain and its agreement with the deployments, and signs a checkpoint where one is set up.

    A broken ledger fails the task at once, without retries: nothing may be derived from it. Returns the number of
    verified rows, and the checkpoint. Logs which ``model.yaml`` is not valid: no later task maintains that model.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify the ledger."""
        from keel import maintenance
        from keel.config import read_models

        for error in read_models()[1]:
            self.log.warning("not maintained: %s", error)
        with self.workspace() as workspace:
            return maintenance.verify_ledger(workspace, now=datetime.now(UTC)).to_dict()


class VerifyStoreOperator(WorkspaceOperator):
    """Verifies rows, marks, counts and sums against each other, alerts against messages, and SQLite's file.

    A fault fails the task at once, without retries; the error has a sentence for each. Returns the number of faults: 0.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Verify the store."""
        from keel import maintenance

        with self.workspace() as workspace:
            return maintenance.verify_store(workspace).to_dict()
