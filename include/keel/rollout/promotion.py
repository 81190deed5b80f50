"""Stage a challenger, and put it into production."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import History, Status, history
from keel.errors import StaleGeneration
from keel.ledger import entries as ledger
from keel.monitoring.records import Outcome
from keel.rollout.approval import approval_of
from keel.rollout.eligibility import passed_comparison, require_promotable
from keel.training.datasets import recent_rows
from keel.window import ceil_hour, now_utc

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.deployments import Deployment
    from keel.monitoring.records import ComparisonRecord
    from keel.workspace import Workspace


def stage(ws: Workspace, config: ModelConfig, report_id: str, *, actor: str, run_id: str) -> Outcome:
    """Make the challenger of a comparison the staging version, which waits for approval.

    Running it again changes nothing.
    """
    comparison = passed_comparison(ws, config, report_id)
    challenger = comparison.challenger
    state = history(ws.store, config.model)
    current = state.deployment
    sentence = _with_evidence(f"Staged version {challenger}, which waits for approval", comparison)
    if current.staging != challenger:
        require_promotable(state, challenger)
        statuses = {challenger: (Status.STAGING, "staged for production")}
        if current.staging is not None:
            statuses[current.staging] = (Status.CANDIDATE, f"version {challenger} was staged instead")
        current = deployments.change(
            ws.store,
            ws.registry,
            current,
            replace(current, staging=challenger),
            actor=actor,
            action=ledger.Action.STAGE,
            body={"run_id": run_id, "evidence": {**comparison.to_ledger(), "sentence": sentence}},
            now=now_utc(),
            statuses=statuses,
        )
    return Outcome.of("staged", comparison, sentence, version=challenger, generation=current.generation)


def _with_evidence(done: str, comparison: ComparisonRecord) -> str:
    """Return what was done and why. A comparison without rows gives its reason as a sentence of its own."""
    return f"{done}{':' if comparison.n else '.'} {comparison.sentence}"


def promote(
    ws: Workspace, config: ModelConfig, report_id: str, *, actor: str, run_id: str, now: datetime | None = None
) -> Outcome:
    """Put the challenger of a comparison into production, on probation.

    The champion must still be the one of the comparison. A task that runs again completes what it began.

    now: the time of the ledger's row. Default: the clock.

    Raises
    ------
    NotShownBetter
        The stored comparison is no evidence for the challenger.
    NotApproved
        The policy requires a person, and the ledger has no approval of this comparison.
    NotPromotable
        The version was rejected, quarantined or archived meanwhile, or does not fit the features.
    ArtifactChanged
        The files in the registry are not those that were registered.
    StaleGeneration
        Another version than the champion of the comparison is in production.

    """
    comparison = passed_comparison(ws, config, report_id)
    challenger = comparison.challenger
    state = history(ws.store, config.model)
    current = state.deployment
    sentence = _with_evidence(f"Promoted version {challenger}", comparison)
    if current.production == challenger:  # a retried task: the change is made, and only MLflow may not follow yet
        deployments.sync_aliases(ws.store, ws.registry, config.model)
        return Outcome.of("promoted", comparison, sentence, version=challenger, generation=current.generation)
    _require_champion(current, comparison)
    require_promotable(state, challenger)
    approval = None
    if config.promotion.approval != "auto":
        approval = approval_of(ws, config, comparison, current.generation)
    rows = recent_rows(ws, config)
    ws.registry.preflight(config, challenger, rows)
    staging = None if current.staging == challenger else current.staging
    changed = deployments.change(
        ws.store,
        ws.registry,
        current,
        replace(current, production=challenger, previous=_previous(state), staging=staging),
        actor=actor,
        action=ledger.Action.PROMOTE,
        now=now or now_utc(),
        body={
            "run_id": run_id,
            "evidence": {**comparison.to_ledger(), "sentence": sentence},
            "approval": approval,
            "probation": _probation(config, comparison, rows),
        },
        statuses=_succession(state, challenger),
    )
    return Outcome.of("promoted", comparison, sentence, version=challenger, generation=changed.generation)


def _require_champion(current: Deployment, comparison: ComparisonRecord) -> None:
    """Raise `StaleGeneration` if another version than the comparison's champion is in production."""
    if current.production == comparison.champion:
        return
    if comparison.champion is None:
        raise StaleGeneration(
            f"{current.model}: version {current.production} went into production meanwhile, and version "
            f"{comparison.challenger} was not compared with it: airflow dags trigger {current.model}.promote --conf "
            f"'{{\"version\": {comparison.challenger}}}'"
        )
    raise deployments.stale_generation(current, expected=comparison.champion)


def _probation(config: ModelConfig, comparison: ComparisonRecord, rows: pa.Table) -> Mapping[str, Any]:
    """Return the probation of a promoted version as the ledger stores it.

    It begins, in the data's time, when the version can have answered for the first time. That is not the end of the
    comparison if people took days to approve. A row from the future moves it no further than to the present.
    """
    assert comparison.until is not None
    since: datetime = comparison.until
    if rows.num_rows:
        since = max(since, min(ceil_hour(rows["time"][-1].as_py()), now_utc()))
    return {
        "version": comparison.challenger,
        "previous": comparison.champion,
        "since": since.isoformat(),
        "until": (since + config.promotion.probation).isoformat(),
    }


def _previous(state: History) -> int | None:
    """Return the version that a rollback of the next production version goes to; None for a deleted one."""
    production = state.deployment.production
    return None if production is None or state.status(production) is Status.DELETED else production


def _succession(state: History, challenger: int) -> dict[int, tuple[Status, str]]:
    """Return the statuses of the deployed versions after the challenger's promotion."""
    current, reason = state.deployment, f"version {challenger} was promoted"
    becomes: dict[int, tuple[Status, str]] = {}
    if current.previous is not None:
        becomes[current.previous] = (Status.ARCHIVED, reason)
    if current.production is not None:
        becomes[current.production] = (Status.PREVIOUS, reason)
        if _previous(state) is None:
            gone = state.version_statuses[current.production]
            becomes[current.production] = (gone.status, gone.reason)
    return {**becomes, challenger: (Status.PRODUCTION, "promoted")}
