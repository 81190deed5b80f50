"""``keel.maintenance``: verify the ledger and the store, reconcile and clean up, for all models, every night."""

from __future__ import annotations

from airflow.sdk import DAG, task_group

from keel.config import read_models
from keel_airflow.operators.alerting import NotifyFindingsOperator
from keel_airflow.operators.maintenance import (
    CompactStoreOperator,
    ExpireReportsOperator,
    ExpireRowsOperator,
    PruneVersionsOperator,
    ReconcileOperator,
    VerifyLedgerOperator,
    VerifyStoreOperator,
)
from keel_airflow.policy import Tag, dag_arguments
from keel_airflow.schedules import maintenance_schedule

DOC = """
## Purpose
Keeps the ledger, the registry and the store in order, for all models. It verifies the ledger and signs a checkpoint. It
reconciles MLflow with the deployments. It deletes versions that nothing needs, and published reports, rows and labels
that have expired; rows and labels are counted and summed before. Then it compacts the store, and verifies it.

## Inputs
- The ledger, MLflow's aliases, each model's `promotion.keep_versions`, `reports.retention` and `retention.rows` (not
  set: no row expires).
- `KEEL_CHECKPOINTS`: where checkpoints are stored, best where the owner of the database cannot change them.
- `KEEL_SIGNING_KEY`: file of the private key. Where another system signs, set `KEEL_VERIFY_KEY` alone: file of the
  public keys.
- Runs at `KEEL_MAINTENANCE_SCHEDULE` (UTC; not set: every night at three), for each model with a valid `model.yaml`.

## Outputs
- A signed checkpoint, where a key and a place are set.
- Rows in the ledger for deleted versions, and for aliases that a user moved in MLflow; a message to the model's people
  about the latter.
- The performance of each hour, up to now. `expire_rows` returns how many rows it deleted, and why it kept older ones: a
  probation or an experiment needs them, or they cannot be counted.
- The number of published reports that `expire_reports` deleted.

## When it fails
- `verify_ledger`: the ledger or a checkpoint is broken, and the error names the row. Change nothing. Find out who wrote
  the row (`keel ledger verify`), and restore the ledger from a backup. No other task runs before the ledger is intact.
- `verify_store`: the error names each fault. Restore a damaged file from a backup. `keel maintenance` verifies again.
- Any other task: fix the cause, then clear the task. A failure for one model fails the run, but the tasks of other
  models and of the store still run. Re-running is safe: what was interrupted is completed.
"""

MODELS = sorted(read_models()[0])

with DAG(
    "keel.maintenance",
    description="Verify the ledger and the store, reconcile, delete old versions and rows",
    schedule=maintenance_schedule(),
    **dag_arguments(None, doc=DOC, tags={Tag.MAINTENANCE}),
):
    verify = VerifyLedgerOperator(task_id="verify_ledger").as_setup()

    @task_group(prefix_group_id=False)
    def maintain_model(model: str) -> None:
        """Reconcile and clean up one model, independently of the others."""
        reconcile = ReconcileOperator(task_id="reconcile", model=model, overrides={})
        notify = NotifyFindingsOperator(task_id="notify_findings", model=model, overrides={}, findings=reconcile.output)
        prune = PruneVersionsOperator(task_id="prune_versions", model=model, overrides={})
        ExpireRowsOperator(task_id="expire_rows", model=model, overrides={})
        ExpireReportsOperator(task_id="expire_reports", model=model, overrides={})
        reconcile >> [notify, prune]

    # A teardown also runs where a task of a model failed, but not where the ledger is broken. Airflow takes the tasks
    # before it for the last of the run, so that their failure fails the run.
    compact = CompactStoreOperator(task_id="compact_store").as_teardown(setups=verify)
    verify_store = VerifyStoreOperator(task_id="verify_store")

    verify >> maintain_model.expand(model=MODELS) >> compact >> verify_store
