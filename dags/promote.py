"""``<model>.promote``: put a version into production, when it is shown to be better and everybody agrees who must.

One DAG per valid model that has a ``retrain`` section: only those get challengers.
"""

from __future__ import annotations

from airflow.sdk import DAG

from keel.config import ModelConfig, read_models
from keel_airflow.groups import approve_operator, asks_people, promote_operator, returned_by, tell_and_record
from keel_airflow.operators.rollout import KeepChampionOperator, RequestPromotionOperator
from keel_airflow.operators.training import CompareModelsOperator
from keel_airflow.params import (
    end_param,
    evidence_param,
    force_param,
    override_params,
    reason_param,
    version_param,
)
from keel_airflow.policy import WORK_TIMEOUT, Tag, dag_arguments

DOC = """
## Purpose
Puts a version of **{model}** into production: compares it with the champion on labelled rows that neither has seen,
asks the people who must agree (`promotion.approval` is `{approval}`; {approvers} may answer), and swaps. From then on
the version is on probation, which `{model}.watch_deployment` looks after.

## Inputs
`version` (empty: the one in staging), `reason`, `end` (until when the holdout reaches; empty: now). `force` promotes
whatever the comparison says, for the person who starts the run by hand and says why; it replaces nobody's agreement.
`experiment` names the one that has shown the version to be better in production: its verdict, as the ledger has it,
then stands in for a comparison on a holdout, while the champion is the same and it is no older than
`promotion.max_label_age`.
`overrides` change the configuration for this run, but nothing of `promotion`.

## Outputs
A comparison in MLflow and in the store; the answer, the new deployment and what it rests on in the ledger; the aliases
in MLflow; the asset `keel://{model}/production`; and a message to {people}.

## When it fails
Production is as it was, unless `promote` itself had begun: clearing it completes the promotion. A version that may not
be promoted, and a yes by somebody who may not give it, fail at once and say what to do. No answer within
`promotion.approval_timeout` is a no: the run succeeds, and the version stays a candidate. Clear `approve` to ask again;
what was answered before does not count then. Runbook: {runbook}
"""


def promote(config: ModelConfig) -> DAG:
    """Build the DAG of one model; where people must agree it waits for them, without a worker."""
    model, ask = config.model, asks_people(config)
    with DAG(
        f"{model}.promote",
        description=f"Put a version of {model} into production",
        schedule=None,
        params=version_param("the one in staging")
        | reason_param()
        | end_param()
        | evidence_param()
        | force_param()
        | override_params(),
        **dag_arguments(
            config,
            doc=DOC,
            tags={Tag.DEPLOYMENT},
            dagrun_timeout=WORK_TIMEOUT + config.promotion.approval_timeout,
        ),
    ) as dag:
        request = RequestPromotionOperator(task_id="request_promotion", model=model)
        compare = CompareModelsOperator(
            task_id="compare",
            model=model,
            candidate=request.output,
            branches={**({"offer": "approve"} if ask else {"promote": "promote"}), "keep_champion": "keep_champion"},
        )
        keep_champion = KeepChampionOperator(task_id="keep_champion", model=model, comparison=compare.output)
        swap = promote_operator(model, comparison=returned_by("compare"))
        tell = tell_and_record(
            model, decided_by="request_promotion", outcomes_of=("promote", "approve", "keep_champion")
        )

        if ask:
            approve = approve_operator(config, comparison=compare.output)
            compare >> approve >> swap
            approve >> tell
        else:
            compare >> swap
        [swap, keep_champion] >> tell
    return dag


for valid in read_models()[0].values():
    if valid.retrain:
        promote(valid)
