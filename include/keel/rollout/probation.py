"""Watching a version after its promotion: does it keep its promise, and is it no worse than the one before it?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.deployments.history import Probation, history
from keel.errors import ArtifactChanged, ConfigError, StaleGeneration, UnknownVersion
from keel.evaluation.probation.verdict import ProbationVerdict, evaluate_probation
from keel.ledger import entries as ledger
from keel.monitoring.decision import Action, Decision
from keel.monitoring.records import Plain, outcome_of, report_id, store_decision, store_report
from keel.stats.metrics.losses import scored
from keel.training.datasets import score_version
from keel.window import HOUR, Window, ceil_hour, floor_hour, now_utc

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.stats.metrics.losses import Scored
    from keel.workspace import Workspace

HARMLESS = (ProbationVerdict.PASSED, ProbationVerdict.BASELINE_NOT_MET, ProbationVerdict.INCONCLUSIVE)
"""Verdicts with which a probation may end: the version is not shown to be worse than the one before it."""
BRANCHES = {
    ProbationVerdict.HARM: "rollback",
    ProbationVerdict.PASSED: "confirm",
    ProbationVerdict.BASELINE_NOT_MET: "notify",
    ProbationVerdict.INCONCLUSIVE: "notify",
    ProbationVerdict.RUNNING: "no_action",
}
NO_BETTER = "nothing shows that the version before it would do better"


def watch(
    ws: Workspace, config: ModelConfig, *, end: datetime, run_id: str, findings: Mapping[str, Any] | None = None
) -> Plain:
    """Judge the version on probation by the labels of its own predictions, up to ``end`` less the label delay.

    findings: what `reconcile` returned. ``branch`` is ``rollback``, ``confirm``, ``notify`` or ``no_action``.
    """
    said = list((findings or {}).get("findings", ()))
    state = history(ws.store, config.model)
    if state.probation is None:
        span = Window(floor_hour(end - config.check.lookback), ceil_hour(end))
        watched = {"model": config.model, "version": state.deployment.production, "window": span.to_dict()}
        body: Plain = {"verdict": "none", "sentence": f"No version of {config.model} is on probation.", "n": 0}
    else:
        span = _span(state.probation, end)
        watched = {"model": config.model, "version": state.probation.version, "window": span.to_dict()}
        body = _judge(ws, config, state.probation, end)
    identity, sentence = report_id("watch", watched), body["sentence"]
    branch = BRANCHES.get(body["verdict"], "no_action")
    if harmless := _harmless(body):
        branch, sentence = "confirm", harmless
    elif "goes_on_until" in body and _told_before(ws, config, state.probation, body, other_than=identity):
        branch = "no_action"
    about = (body["verdict"], *sorted(said))
    kept: Plain = {"report_id": None}
    if state.probation is not None:
        kept = store_report(ws, "probation", watched, {**body, "status": body["verdict"]})
    if said and branch == "no_action":
        branch, sentence = "notify", said[0] if body["verdict"] == "none" else sentence
    more = {
        "verdict": body["verdict"], "branch": branch, "findings": said, "report_id": kept["report_id"],
        "reason": sentence, "watched": body, "requested_by": None,
        "target": state.probation and state.probation.previous,  # what it was compared with
    }  # fmt: skip
    decided = Decision(Action.WATCH, sentence, about)
    if branch == "no_action":  # the hourly look that finds nothing leaves no decision
        return {**watched, "action": str(Action.WATCH), "sentence": sentence, **more}
    return store_decision(ws, identity, watched, decided, run_id, **more)


def confirm(ws: Workspace, config: ModelConfig, watched: Mapping[str, Any], *, actor: str, run_id: str) -> Plain:
    """End the probation of a version that has survived it, or whose time is up. A task that runs again has done so.

    watched: what `watch` returned; what it has shown is read as it was kept.

    Raises
    ------
    StaleGeneration
        That version is not on probation, or the look that was kept does not say that its probation is over.

    """
    reference, version = str(watched.get("report_id")), watched["version"]
    report = ws.store.reports.get(reference)
    state = history(ws.store, config.model)
    sentence = _harmless(report["body"]) if report else ""
    if not sentence or report is None or (report["model"], report["kind"], report["version"]) != (
        config.model, "probation", version,
    ):  # fmt: skip
        raise StaleGeneration(f"{config.model}: no look says that the probation of version {version} is over")
    evidence = {"sentence": sentence, "version": version, "report_id": reference, "watched": report["body"]}
    ended = "confirmed" if report["body"]["verdict"] == ProbationVerdict.PASSED else "probation_over"
    if state.probation is None or state.probation.version != version:
        if not deployments.recorded(
            ws.store, config.model, ledger.Action.CONFIRM, {"evidence": {"report_id": reference}}
        ):
            raise StaleGeneration(
                f"{config.model}: version {version} is not on probation any more, so it is not confirmed; "
                f"what became of it: keel ledger show {config.model}"
            )
        deployments.sync_aliases(ws.store, ws.registry, config.model)
        return outcome_of(ended, watched, sentence, version=version)
    # A change, to the same deployment: not at the same time as a promotion, whose probation it would end.
    deployments.change(
        ws.store, ws.registry, state.deployment, state.deployment, actor=actor, action=ledger.Action.CONFIRM,
        now=now_utc(), body={"run_id": run_id, "probation": None, "evidence": evidence},
    )  # fmt: skip
    return outcome_of(ended, watched, sentence, version=version)


def _harmless(found: Mapping[str, Any]) -> str:
    """Return with what words a look ends the probation; none where it does not."""
    if found["verdict"] not in HARMLESS or not found["over"]:
        return ""
    survived = found["verdict"] == ProbationVerdict.PASSED
    return found["sentence"] if survived else f"{found['sentence']} Its time is up, and the version stays: {NO_BETTER}."


def _told_before(
    ws: Workspace, config: ModelConfig, probation: Probation | None, found: Mapping[str, Any], *, other_than: str
) -> bool:
    """Whether people have heard that this probation has shown nothing in its time, and goes on."""
    assert probation is not None
    past = ws.store.decisions.notified(
        config.model, probation.version, Action.WATCH, after=probation.since, other_than=other_than
    )
    return any(each["body"].get("watched", {}).get("goes_on_until") == found["goes_on_until"] for each in past)


def _span(probation: Probation, end: datetime) -> Window:
    since = floor_hour(probation.since)
    return Window(since, max(ceil_hour(end), since + HOUR))


def _judge(ws: Workspace, config: ModelConfig, probation: Probation, end: datetime) -> Plain:
    """Return what a probation has shown; where that is nothing in its own time, what it shows as it goes on.

    ``goes_on_until``, with ``over`` false: it has shown nothing, and there is time left.
    """
    mature, longest = end - config.target.label_delay, probation.until + config.promotion.probation_extension
    found = _look(ws, config, probation, mature, probation.until)
    if found["verdict"] != ProbationVerdict.INCONCLUSIVE:
        return found
    found = _look(ws, config, probation, mature, longest, over=True)
    if found["verdict"] != ProbationVerdict.INCONCLUSIVE or mature >= longest:
        return found
    way = f"to end it now: keel versions end-probation {config.model} {probation.version} --reason …"
    sentence = f"{found['sentence']} It goes on, at the longest until {longest:%Y-%m-%d %H:%M} UTC; {way}"
    return {**found, "over": False, "sentence": sentence, "goes_on_until": longest.isoformat()}


def _look(
    ws: Workspace, config: ModelConfig, probation: Probation, mature: datetime, longest: datetime, *, over: bool = False
) -> Plain:
    until = min(mature, longest)
    rows = ws.predictions(config).labelled(
        probation.since, max(until, probation.since), version=probation.version, by_arrival=config.target.label_delay
    )
    previous, why_not = _previous(ws, config, probation, rows)
    report = evaluate_probation(
        scored(rows),
        previous,
        times=rows["time"].to_numpy().astype("datetime64[us]"),
        metric=config.performance.metric,
        reference=ws.registry.reference(config.model, probation.version),
        policy=config.promotion,
        max_increase=config.performance.max_degradation,
        over=over or mature >= longest,
        not_compared=why_not,
    )
    return {**report.to_dict(), "version": probation.version, "previous": probation.previous}


def _previous(ws: Workspace, config: ModelConfig, probation: Probation, rows: pa.Table) -> tuple[Scored | None, str]:
    """Score the same rows with the version before; None where there is none that can, and why."""
    if probation.previous is None:
        return None, ""
    try:
        return score_version(ws, config, probation.previous, rows), ""
    except (UnknownVersion, ArtifactChanged, ConfigError) as error:
        return None, f"version {probation.previous}, the one before it, cannot be scored: {error}"
