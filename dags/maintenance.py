"""``keel.maintenance``: look after what Keel keeps, for all models, every night."""

from __future__ import annotations

from airflow.sdk import DAG, task_group

from keel.config import read_models
from keel_airflow.operators.alerting import NotifyFindingsOperator
from keel_airflow.operators.maintenance import (
    CompactStoreOperator,
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
Proves that the ledger is what was written and signs what it is, brings MLflow and the deployments of every model
together, and deletes the versions that nobody needs any more. Deletes rows and labels that are old enough, once they
are counted and summed; what was counted and summed stays for ever. Then gives the space back, and looks whether all
that is stored fits together.

## Inputs
The ledger; `KEEL_CHECKPOINTS` (where checkpoints lie, best a place that the database's owner cannot change) with
`KEEL_SIGNING_KEY` (file of the private key), or with `KEEL_VERIFY_KEY` alone (file of public keys) where somebody else
signs; MLflow's aliases; each model's `promotion.keep_versions` and `retention.rows` (unset: rows are kept for ever).
Runs at `KEEL_MAINTENANCE_SCHEDULE` (UTC; unset: every night at three), for the models whose `model.yaml` is valid.

## Outputs
A signed checkpoint where a key and a place are set. A message to a model's people when somebody moved its aliases by
hand, which is adopted with a row in the ledger. Rows in the ledger for the versions that were deleted. Realised
performance of each hour, summed up to now. `expire_rows` returns how many rows were deleted, and why others were kept
though older: a probation or an experiment is judged by them, or they cannot be counted.

## When it fails
`verify_ledger`: the ledger or its checkpoints do not hold, and the error names the row. Change nothing, find out who
wrote it (`keel ledger verify`), and restore it from a backup; nothing is reconciled or deleted before it holds.
`verify_store`: the error names what does not fit together, and `keel maintain` says it again; restore a damaged file
from a backup. Any other task: mend the cause and clear it; what fails for one model does not keep the others, nor the
store, from being looked after, and fails the run all the same. What was interrupted does the rest the next time.
"""

MODELS = sorted(read_models()[0])

with DAG(
    "keel.maintenance",
    description="Look after the ledger, the registry, old versions and old rows",
    schedule=maintenance_schedule(),
    **dag_arguments(None, doc=DOC, tags={Tag.MAINTENANCE}),
):
    verify = VerifyLedgerOperator(task_id="verify_ledger").as_setup()

    @task_group(prefix_group_id=False)
    def look_after(model: str) -> None:
        """Look after one model, whatever becomes of the others."""
        reconcile = ReconcileOperator(task_id="reconcile", model=model, overrides={})
        tell = NotifyFindingsOperator(task_id="tell_findings", findings=reconcile.output)
        prune = PruneVersionsOperator(task_id="prune_versions", model=model, overrides={})
        ExpireRowsOperator(task_id="expire_rows", model=model, overrides={})
        reconcile >> [tell, prune]

    # A teardown comes also where a model's step has failed, but not where the ledger is broken; and for Airflow what is
    # before it are a run's last tasks, so that their failure is the run's.
    compact = CompactStoreOperator(task_id="compact_store").as_teardown(setups=verify)
    verify_store = VerifyStoreOperator(task_id="verify_store")

    verify >> look_after.expand(model=MODELS) >> compact >> verify_store
