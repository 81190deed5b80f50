"""Evaluate a version on probation: does it reach its baseline, and is it no worse than the version before it?"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from keel import deployments
from keel.deployments.history import Probation, history
from keel.errors import ArtifactChanged, ConfigError, StaleGeneration, UnknownVersion
from keel.evaluation.probation.verdict import ProbationVerdict, evaluate_probation
from keel.ledger import entries as ledger
from keel.monitoring.label_check import quarantine_broken_labels
from keel.monitoring.records import Action, Outcome, ProbationDecision, ReconcileRecord, StoredProbationReport
from keel.monitoring.storage import report_id, store_decision, store_report
from keel.rollout.eligibility import stored_decision
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
NO_PROBATION = "none"
"""The verdict where no version is on probation."""


def watch(
    ws: Workspace,
    config: ModelConfig,
    *,
    end: datetime,
    run_id: str,
    reconciled: ReconcileRecord | None = None,
    now: datetime | None = None,
) -> ProbationDecision:
    """Evaluate the version on probation by the labels of its own predictions, until ``end`` less the label delay.

    reconciled: what `reconcile` found, for the message. now: the time of a quarantine of labels. Default: the clock.

    The decision's ``branch`` is ``rollback``, ``confirm``, ``notify`` or ``no_action``. Only a decision to act is
    stored, so that hourly evaluations leave no others.
    """
    state = history(ws.store, config.model)
    found = reconciled or ReconcileRecord.from_dict({"model": config.model})
    findings, probation = found.findings, state.probation
    if probation is None:
        version, window = state.deployment.production, Window(floor_hour(end - config.check.lookback), ceil_hour(end))
        report = StoredProbationReport(
            verdict=NO_PROBATION, sentence=f"No version of {config.model} is on probation.", n=0
        )
        stored = None
    else:
        version, window = probation.version, _window(probation, end)
        mature = end - config.target.label_delay
        quarantine_broken_labels(ws, config, probation.since, max(mature, probation.since), run_id=run_id, now=now)
        report = _evaluated(ws, config, probation, end)
        stored = store_report(ws, "probation", config.model, probation.version, window, report)
    identity = report_id("watch", config.model, version, window)
    branch, sentence = _next(report)
    if (
        probation
        and report.extended_until
        and _notified_before(ws, config, report, probation.since, other_than=identity)
    ):
        branch = "no_action"
    if findings and branch == "no_action":
        branch, sentence = "notify", findings[0] if report.verdict == NO_PROBATION else sentence
    decision = ProbationDecision(
        decision_id=identity if branch != "no_action" else "",
        model=config.model,
        version=version,
        window=window,
        sentence=sentence,
        about=(report.verdict, *sorted(findings)),
        reason=sentence,
        findings=findings,
        undelivered=found.undelivered,
        out_of_band=found.out_of_band,
        verdict=report.verdict,
        branch=branch,
        report_id=stored.report_id if stored else None,
        target=probation.previous if probation else None,
        watched=report,
    )
    return decision if branch == "no_action" else store_decision(ws, decision, run_id=run_id)


def confirm(
    ws: Workspace, config: ModelConfig, decision_id: str, *, actor: str, run_id: str, now: datetime | None = None
) -> Outcome:
    """End the probation of a version that passed it, or whose time is up. Running it again changes nothing.

    decision_id: of `watch`.
    now: the time of the ledger's row. Default: the clock.

    Raises
    ------
    StaleGeneration
        No such decision is stored, or its version is not on probation any more.

    """
    decision = stored_decision(ws, config, decision_id, ProbationDecision, purpose="end a probation")
    version, report = decision.version, decision.watched
    sentence = _end_sentence(report)
    if decision.branch != "confirm" or not sentence:
        raise StaleGeneration(f"{config.model}: no evaluation says that the probation of version {version} is over")
    state = history(ws.store, config.model)
    name = "confirmed" if report.verdict == ProbationVerdict.PASSED else "probation_over"
    outcome = Outcome.of(name, decision, sentence, version=version)
    if state.probation is None or state.probation.version != version:
        act = {"evidence": {"report_id": decision.report_id}}
        if not deployments.recorded(ws.store, config.model, ledger.Action.CONFIRM, act):
            raise StaleGeneration(
                f"{config.model}: version {version} is not on probation any more, so it is not confirmed; "
                f"its history: keel ledger show {config.model}"
            )
        deployments.sync_aliases(ws.store, ws.registry, config.model)
        return outcome
    evidence = {
        "sentence": sentence,
        "version": version,
        "report_id": decision.report_id,
        "watched": report.to_dict(),
    }
    # A change to the same deployment, so that it excludes a promotion, which would begin another probation.
    deployments.change(
        ws.store,
        ws.registry,
        state.deployment,
        state.deployment,
        actor=actor,
        action=ledger.Action.CONFIRM,
        now=now or now_utc(),
        body={"run_id": run_id, "probation": None, "evidence": evidence},
    )
    return outcome


def _next(report: StoredProbationReport) -> tuple[str, str]:
    """Return the branch that follows a report, and the sentence that explains it."""
    if sentence := _end_sentence(report):
        return "confirm", sentence
    return {str(verdict): branch for verdict, branch in BRANCHES.items()}.get(
        report.verdict, "no_action"
    ), report.sentence


def _end_sentence(report: StoredProbationReport) -> str:
    """Return the sentence with which a report ends the probation; empty where it does not."""
    if report.verdict not in HARMLESS or not report.over:
        return ""
    if report.verdict == ProbationVerdict.PASSED:
        return report.sentence
    return f"{report.sentence} Its time is up, and the version stays: {NO_BETTER}."


def _notified_before(
    ws: Workspace, config: ModelConfig, report: StoredProbationReport, since: datetime, *, other_than: str
) -> bool:
    """Whether people were notified that this probation showed nothing in its time, and was extended."""
    past = ws.store.decisions.notified(config.model, report.version, Action.WATCH, after=since, other_than=other_than)
    reports = (ProbationDecision.from_dict(each["body"]).watched for each in past)
    return any(each.extended_until == report.extended_until for each in reports)


def _window(probation: Probation, end: datetime) -> Window:
    since = floor_hour(probation.since)
    return Window(since, max(ceil_hour(end), since + HOUR))


def _evaluated(ws: Workspace, config: ModelConfig, probation: Probation, end: datetime) -> StoredProbationReport:
    """Evaluate a probation; one that shows nothing in its own time is extended and evaluated on more rows.

    ``extended_until``, with ``over`` false: it was extended.
    """
    mature, longest = end - config.target.label_delay, probation.until + config.promotion.probation_extension
    report = _report(ws, config, probation, mature, probation.until)
    if report.verdict != ProbationVerdict.INCONCLUSIVE:
        return report
    report = _report(ws, config, probation, mature, longest, over=True)
    if report.verdict != ProbationVerdict.INCONCLUSIVE or mature >= longest:
        return report
    end_it = f"to end it now: keel versions end-probation {config.model} {probation.version} --reason …"
    sentence = f"{report.sentence} It is extended until {longest:%Y-%m-%d %H:%M} UTC at the latest; {end_it}"
    return report.model_copy(update={"over": False, "sentence": sentence, "extended_until": longest})


def _report(
    ws: Workspace, config: ModelConfig, probation: Probation, mature: datetime, longest: datetime, *, over: bool = False
) -> StoredProbationReport:
    until = min(mature, longest)
    rows = ws.predictions(config).labelled(
        probation.since, max(until, probation.since), version=probation.version, by_arrival=config.target.label_delay
    )
    previous, not_compared = _scored_by_previous(ws, config, probation, rows)
    found = evaluate_probation(
        scored(rows),
        previous,
        times=rows["time"].to_numpy().astype("datetime64[us]"),
        metric=config.performance.metric,
        reference=ws.registry.reference(config.model, probation.version),
        policy=config.promotion,
        max_degradation=config.performance.max_degradation,
        over=over or mature >= longest,
        not_compared=not_compared,
    )
    return StoredProbationReport.from_dict(
        {**found.to_dict(), "version": probation.version, "previous": probation.previous}
    )


def _scored_by_previous(
    ws: Workspace, config: ModelConfig, probation: Probation, rows: pa.Table
) -> tuple[Scored | None, str]:
    """Score the same rows with the version before it. None where no version can; the text says why not."""
    if probation.previous is None:
        return None, ""
    try:
        return score_version(ws, config, probation.previous, rows), ""
    except (UnknownVersion, ArtifactChanged, ConfigError) as error:
        return None, f"version {probation.previous}, the one before it, cannot be scored: {error}"
