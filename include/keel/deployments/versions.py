"""Describe a model's versions, reinstate a version, and end a probation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import Status, fold, history
from keel.errors import ConfigError, UnknownVersion
from keel.ledger import entries as ledger
from keel.registry.mlflow_client import means_missing

if TYPE_CHECKING:
    from keel.deployments.history import History
    from keel.registry.registry import Registry
    from keel.store import Store

REINSTATED = {Status.REJECTED: Status.CANDIDATE, Status.QUARANTINED: Status.ARCHIVED}
"""The status of a version after a person reinstates it. A rejected version was never in production and becomes a
candidate again. A quarantined one did harm in production; it becomes archived, and a rollback may name it."""
METRIC_PREFIX = "holdout_"


def describe(store: Store, registry: Registry, model: str) -> list[dict[str, Any]]:
    """Return a description of every version, oldest first, deleted ones included.

    Statuses, reasons and training windows come from the ledger, metrics from the version's run in MLflow, if it exists.
    A version that only MLflow has gets no status. ``alias`` is that of a deployed version, also of one that was deleted
    from MLflow and that nothing has replaced; None for any other.
    """
    entries = list(ledger.entries(store, model))
    state = fold(model, entries)
    registered = {e.body["artifacts"]["version"]: e.body.get("evidence", {}) for e in entries if "artifacts" in e.body}
    in_registry = {v.version: v for v in registry.versions(model)}
    described = []
    for number in sorted({*in_registry, *state.version_statuses}):
        version, pin = in_registry.get(number), state.pins.get(number)
        tags = registered.get(number, {}).get("tags") or (version.tags if version else {})
        run_id = pin.run_id if pin else version.run_id if version else None
        described.append(
            {
                "model": model,
                "version": number,
                **_status(state, number),
                "alias": _alias(state, number),
                "why": tags.get("keel.reason", ""),
                "trained_on": {name: tags.get(f"keel.training_{name}") or None for name in ("start", "end")},
                "metrics": _metrics(registry, run_id),
                "pinned": pin is not None,
                "in_registry": version is not None,
            }
        )
    return described


def reinstate(
    store: Store, registry: Registry, model: str, version: int, *, reason: str, actor: str, now: datetime
) -> Status:
    """Make a rejected version a candidate again, or a quarantined one archived; record it and return the new status.

    Raises
    ------
    UnknownVersion
        It is neither rejected nor quarantined; the message has its status, and lists the versions that are.
    StaleGeneration
        Another process changed the deployment at the same time; nothing was written.

    """
    if not reason.strip():
        raise ConfigError(f"{model}: reason: say why version {version} is reinstated; the ledger records it")
    state = history(store, model)
    was = state.status(version)
    if was not in REINSTATED:
        possible = [
            f"{number} ({reached.status})"
            for number, reached in sorted(state.version_statuses.items())
            if reached.status in REINSTATED
        ]
        raise UnknownVersion(
            f"{model}: version {version} is {was or 'not known to Keel'}; only rejected and quarantined versions "
            f"can be reinstated: {', '.join(possible) or 'there are none'}"
        )
    status = REINSTATED[was]
    evidence = {
        "sentence": f"Reinstated version {version}, which was {was}: {reason}",
        "version": version,
        "reason": reason,
        "was": was,
        "because": state.version_statuses[version].reason,
    }
    # A change to the same deployment, so that it cannot happen together with a deletion or a promotion.
    deployments.change(
        store,
        registry,
        state.deployment,
        state.deployment,
        actor=actor,
        action=ledger.Action.RELEASE_VERSION,
        body={"evidence": evidence},
        now=now,
        statuses={version: (status, reason)},
    )
    return status


def end_probation(
    store: Store, registry: Registry, model: str, version: int, *, reason: str, actor: str, now: datetime
) -> None:
    """End a version's probation, whatever the evidence: it stays in production. Record who did so and why.

    Raises
    ------
    UnknownVersion
        It is not on probation; the message names the version that is.
    StaleGeneration
        Another process changed the deployment at the same time; nothing was written.

    """
    if not reason.strip():
        raise ConfigError(f"{model}: reason: say why the probation of version {version} ends; the ledger records it")
    state = history(store, model)
    if state.probation is None or state.probation.version != version:
        present = "no version is" if state.probation is None else f"version {state.probation.version} is"
        raise UnknownVersion(f"{model}: version {version} is not on probation; {present}: keel ledger show {model}")
    evidence = {
        "sentence": f"Ended the probation of version {version}: {reason}",
        "version": version,
        "reason": reason,
        "since": state.probation.since.isoformat(),
        "until": state.probation.until.isoformat(),
    }
    # A change to the same deployment, so that it cannot happen together with a promotion, whose probation it would end.
    deployments.change(
        store,
        registry,
        state.deployment,
        state.deployment,
        actor=actor,
        action=ledger.Action.CONFIRM,
        body={"probation": None, "evidence": evidence},
        now=now,
    )


def _status(state: History, version: int) -> dict[str, Any]:
    known = state.version_statuses.get(version)
    if known is None:
        return {"status": None, "since": None, "reason": "the ledger does not register it, so Keel never loads it"}
    return {"status": str(known.status), "since": known.since.isoformat(), "reason": known.reason}


def _alias(state: History, version: int) -> str | None:
    return next((alias for alias, deployed in state.deployment.aliases.items() if deployed == version), None)


def _metrics(registry: Registry, run_id: str | None) -> Mapping[str, float]:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return {}
    with registry.reachable():
        try:
            logged = registry.client.get_run(run_id).data.metrics
        except MlflowException as error:
            if not means_missing(error):
                raise
            return {}
    return {name.removeprefix(METRIC_PREFIX): v for name, v in logged.items() if name.startswith(METRIC_PREFIX)}
