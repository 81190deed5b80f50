"""A model's versions as people ask for them, giving one back, and ending a probation."""

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

RELEASED = {Status.REJECTED: Status.CANDIDATE, Status.QUARANTINED: Status.ARCHIVED}
"""What becomes of a version that a person releases: one that was never in production may be offered again, one that did
harm there may be gone back to, by name."""
METRIC_PREFIX = "holdout_"


def describe(store: Store, registry: Registry, model: str) -> list[dict[str, Any]]:
    """Return every version, oldest first, also those deleted: its station, why and since when, and what it came from.

    Stations and reasons are the ledger's, and so are the windows that a version was trained on; its metrics are those
    of its run in MLflow, as far as that is there. A version that only MLflow knows has no status.
    """
    entries = list(ledger.entries(store, model))
    state = fold(model, entries)
    registered = {e.body["artifacts"]["version"]: e.body.get("evidence", {}) for e in entries if "artifacts" in e.body}
    there = {v.version: v for v in registry.versions(model)}
    described = []
    for number in sorted({*there, *state.version_statuses}):
        version, pin = there.get(number), state.pins.get(number)
        tags = registered.get(number, {}).get("tags") or (version.tags if version else {})
        run_id = pin.run_id if pin else version.run_id if version else None
        described.append(
            {
                "model": model, "version": number, **_station(state, number), "why": tags.get("keel.reason", ""),
                "trained_on": {name: tags.get(f"keel.training_{name}") or None for name in ("start", "end")},
                "metrics": _metrics(registry, run_id), "pinned": pin is not None, "in_registry": version is not None,
            }
        )  # fmt: skip
    return described


def release(
    store: Store, registry: Registry, model: str, version: int, *, reason: str, actor: str, now: datetime
) -> Status:
    """Give a rejected or quarantined version back, with a ledger row that says who did and why; return its station.

    Raises
    ------
    UnknownVersion
        It is neither; the message says what it is, and lists those that are.
    StaleGeneration
        Somebody changed the deployment at the same time; nothing was written.

    """
    if not reason.strip():
        raise ConfigError(f"{model}: reason: say why version {version} is released; it is kept in the ledger")
    state = history(store, model)
    was = state.status(version)
    if was not in RELEASED:
        them = [f"{number} ({state.status(number)})" for number in sorted(state.version_statuses)
                if state.status(number) in RELEASED]  # fmt: skip
        raise UnknownVersion(
            f"{model}: version {version} is {was or 'not known to Keel'}, and only rejected and quarantined versions "
            f"can be released: {', '.join(them) or 'there are none'}"
        )
    becomes = RELEASED[was]
    evidence = {
        "sentence": f"Released version {version}, which was {was}: {reason}", "version": version, "reason": reason,
        "was": was, "because": state.version_statuses[version].reason,
    }  # fmt: skip
    # A change, to the same deployment: not at the same time as a deletion or a promotion.
    deployments.change(
        store, registry, state.deployment, state.deployment, actor=actor, action=ledger.Action.RELEASE_VERSION,
        body={"evidence": evidence}, now=now, statuses={version: (becomes, reason)},
    )  # fmt: skip
    return becomes


def confirm(
    store: Store, registry: Registry, model: str, version: int, *, reason: str, actor: str, now: datetime
) -> None:
    """End a version's probation, whatever it has shown: it stays in production. A ledger row says who did and why.

    Raises
    ------
    UnknownVersion
        It is not on probation; the message says which one is.
    StaleGeneration
        Somebody changed the deployment at the same time; nothing was written.

    """
    if not reason.strip():
        raise ConfigError(f"{model}: reason: say why the probation of version {version} ends; it is kept in the ledger")
    state = history(store, model)
    if state.probation is None or state.probation.version != version:
        present = "none is" if state.probation is None else f"version {state.probation.version} is"
        raise UnknownVersion(f"{model}: version {version} is not on probation; {present}: keel ledger show {model}")
    evidence = {
        "sentence": f"Ended the probation of version {version}: {reason}", "version": version, "reason": reason,
        "since": state.probation.since.isoformat(), "until": state.probation.until.isoformat(),
    }  # fmt: skip
    # A change, to the same deployment: not at the same time as a promotion, whose probation it would end.
    deployments.change(
        store, registry, state.deployment, state.deployment, actor=actor, action=ledger.Action.CONFIRM,
        body={"probation": None, "evidence": evidence}, now=now,
    )  # fmt: skip


def _station(state: History, version: int) -> dict[str, Any]:
    standing = state.version_statuses.get(version)
    if standing is None:
        reason = "nothing says what was registered, so it is never loaded"
        return {"status": None, "since": None, "reason": reason}
    return {"status": str(standing.status), "since": standing.since.isoformat(), "reason": standing.reason}


def _metrics(registry: Registry, run_id: str | None) -> Mapping[str, float]:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return {}
    try:
        with registry.reachable():
            logged = registry.client.get_run(run_id).data.metrics
    except MlflowException as error:
        if not means_missing(error):
            raise
        return {}
    return {name.removeprefix(METRIC_PREFIX): v for name, v in logged.items() if name.startswith(METRIC_PREFIX)}
