"""What a person can do from a model's page. Each is one request of docs/rest.md."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from keel.reports.page import Action, Actions, Field

if TYPE_CHECKING:
    from keel.reports.model.view import ModelView

REASON = Field("reason", "Reason, which the ledger keeps", required=True)
SILENCES = ("4h", "1d", "7d", "30d")


def of_model(view: ModelView) -> Actions:
    """Return what can be done to the model as it is deployed."""
    deployment = view.state.deployment
    found = []
    if deployment.production is not None:
        found.append(check_now(view.model))
    if deployment.staging is not None:
        found.append(promote(view.model, deployment.staging))
    if deployment.production is not None and deployment.previous is not None:
        found.append(roll_back(view.model, deployment.production, deployment.previous))
    return Actions(tuple(found))


def check_now(model: str) -> Action:
    """Return the action that starts a check."""
    return Action(
        "Check now",
        "POST",
        "drift/check-and-retrain",
        f"Check the newest data of {model}? It takes a minute or two, and retrains where the check finds a reason.",
        body=(("model", model),),
        dag_id=f"{model}.drift_check",
    )


def promote(model: str, version: int) -> Action:
    """Return the action that promotes a version."""
    return Action(
        f"Promote version {version}",
        "POST",
        "models/promote",
        f"Promote version {version} of {model}? It is compared with the version in production first, and does not "
        "replace it where the comparison fails.",
        body=(("model", model), ("version", version)),
        fields=(REASON, Field("force", "Promote it also where the comparison fails", "flag")),
        dag_id=f"{model}.promote",
        danger=True,
    )


def roll_back(model: str, version: int, previous: int) -> Action:
    """Return the action that takes a version out of production."""
    return Action(
        f"Roll back to version {previous}",
        "POST",
        "models/rollback",
        f"Roll {model} back? Version {previous} answers instead of version {version}, which is quarantined.",
        body=(("model", model), ("version", previous)),
        fields=(REASON,),
        dag_id=f"{model}.rollback",
        danger=True,
    )


def stop_experiment(model: str, experiment_id: str, champion: int) -> Action:
    """Return the action that ends an experiment without a result."""
    return Action(
        "Stop the experiment",
        "POST",
        f"models/{quote(model, safe='')}/experiments/{quote(experiment_id, safe='')}/stop",
        f"Stop the experiment? It ends without a result, and version {champion} answers every request.",
        fields=(REASON,),
        dag_id=f"{model}.experiment",
        danger=True,
    )


def acknowledge(model: str, alert_id: str, about: str) -> Action:
    """Return the action that takes an alert over."""
    return Action(
        "Acknowledge",
        "POST",
        f"models/{quote(model, safe='')}/alerts/{quote(alert_id, safe='')}/acknowledge",
        f"Take over the alert about {about}? Nobody is reminded of it until it gets worse.",
        fields=(Field("reason", "Note for others"),),
        dag_id=f"{model}.drift_check",
    )


def silence(model: str, kind: str, subject: str, about: str) -> Action:
    """Return the action that tells nobody of alerts like one for a time."""
    return Action(
        "Silence",
        "POST",
        f"models/{quote(model, safe='')}/silences",
        f"Tell nobody of alerts about {about} for a time? They are still recorded.",
        body=(("kind", kind), *((("subject", subject),) if subject else ())),
        fields=(Field("duration", "For how long", "choice", "1d", SILENCES, required=True), REASON),
        dag_id=f"{model}.drift_check",
    )


def end_silence(model: str, silence_id: str) -> Action:
    """Return the action that ends a silence before its time."""
    return Action(
        "End it",
        "POST",
        f"models/{quote(model, safe='')}/silences/{quote(silence_id, safe='')}/end",
        "End this silence now? What still fires is told by the next check.",
        dag_id=f"{model}.drift_check",
    )
