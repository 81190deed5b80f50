"""The steps of a version that was trained: compare, stage, approve, promote, watch, confirm, roll back.

`keel.loop` continues with them when it has trained a challenger, and the DAGs ``<model>.promote``, ``.rollback`` and
``.watch_deployment`` consist of them. Each step returns a record (`keel.monitoring.records`). A step that acts on a
comparison or a decision takes only its id: the evidence is read from the store and the approval from the ledger,
because any task could have written what is passed between tasks.

A promotion checks three things: the version is shown to be better (or a person forces it), everyone who must approve
has approved, and the files are those that were registered. Then the deployment changes.
"""

from keel.rollout.approval import approval_request, approve
from keel.rollout.decline import keep_champion
from keel.rollout.deployment_watch import watch_deployment
from keel.rollout.experiment.conclude import conclude_experiment
from keel.rollout.experiment.parameters import duration_of, stages_of
from keel.rollout.experiment.start import start_experiment, stop_experiment
from keel.rollout.experiment.watch import evaluate_experiment, watch_experiment
from keel.rollout.gate import compare
from keel.rollout.probation import confirm, watch
from keel.rollout.promotion import promote, stage
from keel.rollout.reconciliation import reconcile
from keel.rollout.request import request_promotion
from keel.rollout.rollbacks import request_rollback, rollback

__all__ = [
    "approval_request",
    "approve",
    "compare",
    "conclude_experiment",
    "confirm",
    "duration_of",
    "evaluate_experiment",
    "keep_champion",
    "promote",
    "reconcile",
    "request_promotion",
    "request_rollback",
    "rollback",
    "stage",
    "stages_of",
    "start_experiment",
    "stop_experiment",
    "watch",
    "watch_deployment",
    "watch_experiment",
]
