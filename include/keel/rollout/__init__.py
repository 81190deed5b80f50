"""Into production and back: compare, offer, approve, promote, watch, confirm, take back.

What `keel.loop` goes on to when it has trained a challenger, and what ``<model>.promote``, ``.rollback`` and
``.watch_deployment`` are made of. Each step takes plain values and gives back plain values. What a step is given is
only a reference: the comparison is read from the store, the approval from the ledger, because whatever passes between
tasks could have been written by any of them.

A promotion asks three questions: is the version shown to be better (or does a person force it), does everybody agree
who must, and is what would serve the very thing that was registered? Only then the deployment is swapped.
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
]  # fmt: skip
