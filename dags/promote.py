"""``<model>.promote``: put a version into production when it is shown to be better and the approvers agree.

There is one DAG for each valid model with a section ``retrain``: only those have challengers.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import approve_operator, needs_approval, notify_and_record, promote_operator, result_of
from keel_airflow.operators.rollout import KeepChampionOperator, RequestPromotionOperator
from keel_airflow.operators.training import CompareModelsOperator
from keel_airflow.params import (
    end_param,
    experiment_evidence_param,
    force_param,
    override_params,
    reason_param,
    version_param,
)
from keel_airflow.policy import WORK_TIMEOUT, Tag, dag_arguments

DOC = """
## Purpose
Puts a version of **{model}** into production. It compares the version with the champion on labelled rows that neither
has seen, asks for approval where the policy wants it, and promotes. Approval: `{approval}`; approvers: {approvers}. The
new production version is then on probation, which `{model}.watch_deployment` evaluates.

## Inputs
- Runs by hand, by the API, and when another DAG stages a version.
- `version` (empty: the one in staging), `reason`, and `end`, the end of the holdout (empty: now).
- `experiment`: an experiment that showed the version to be better. Its verdict in the ledger replaces the comparison on
  a holdout, while the champion is still the same and the verdict is not older than `promotion.max_label_age`.
- `force`: promote whatever the comparison finds. It needs a run started by hand and a reason, and replaces no approval.
- `overrides` change the configuration for this run, except the section `promotion`.

## Outputs
- A comparison in MLflow and in the store.
- In the ledger: the answer of the approver, and the new deployment with its evidence.
- The aliases in MLflow, the asset `keel://{model}/production`, and a message to {people}.

## When it fails
Production is unchanged, unless `promote` had started: then clear `promote`, and it completes the promotion. A version
that may not be promoted fails at once, and so does an approval by a user who may not give it. The error says what to
do. Without an answer within `promotion.approval_timeout` the promotion is declined: the run succeeds, and the version
stays a candidate. Clear `approve` to ask again; earlier answers then do not count. Runbook: {runbook}
"""


def promotion(config: ModelConfig) -> DAG:
    """Build the DAG of one model. Where the policy wants approval, it waits for it without a worker."""
    model, approval = config.model, needs_approval(config)
    with DAG(
        f"{model}.promote",
        description=f"Put a version of {model} into production",
        schedule=None,
        params=version_param("the one in staging")
        | reason_param()
        | end_param()
        | experiment_evidence_param()
        | force_param()
        | override_params(),
        **dag_arguments(
            config,
            doc=DOC,
            tags={Tag.DEPLOYMENT},
            dagrun_timeout=WORK_TIMEOUT + config.promotion.approval_timeout,
        ),
    ) as dag:
        better = {"stage": "approve"} if approval else {"promote": "promote"}
        request = RequestPromotionOperator(task_id="request_promotion", model=model)
        compare = CompareModelsOperator(
            task_id="compare",
            model=model,
            candidate=request.output,
            branches=better | {"keep_champion": "keep_champion"},
        )
        keep_champion = KeepChampionOperator(task_id="keep_champion", model=model, comparison=compare.output)
        promote = promote_operator(model, comparison=result_of("compare"))
        notify = notify_and_record(
            config, decided_by="request_promotion", outcomes_of=("promote", "approve", "keep_champion")
        )

        if approval:
            approve = approve_operator(config, comparison=compare.output)
            compare >> approve >> promote
            approve >> notify
        else:
            compare >> promote
        [promote, keep_champion] >> notify
    return dag


for valid in read_models()[0].values():
    if valid.retrain:
        promotion(valid)
