"""Compare champion and challenger on rows that neither has seen, and store the comparison."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keel.deployments.history import PROMOTABLE, Status, history
from keel.errors import ArtifactChanged, ConfigError, UnknownVersion
from keel.evaluation.holdout.comparison import Verdict, compare_versions
from keel.monitoring.label_check import quarantine_broken_labels
from keel.monitoring.performance_words import capitalised
from keel.monitoring.records import ComparisonRecord, PromotionRequest, Span, TrainedVersion
from keel.monitoring.storage import read_decision, store_comparison
from keel.reports import html, markdown
from keel.reports.comparison import page
from keel.rollout.comparison_details import details_of
from keel.rollout.experiment_evidence import comparison_of_experiment
from keel.rollout.holdout_reuse import comparison_id, prior_comparisons
from keel.stats.json_numbers import finite_or_none
from keel.training.datasets import score_version, unseen_holdout

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.evaluation.benchmark.latency import BenchmarkResult
    from keel.rollout.holdout_reuse import Request
    from keel.workspace import Workspace

log = logging.getLogger(__name__)


def compare(ws: Workspace, config: ModelConfig, request: TrainedVersion | PromotionRequest) -> ComparisonRecord:
    """Compare the challenger with the champion on a holdout that neither has seen, and store the comparison.

    request: what `keel.loop.retrain` or `request_promotion` returned. A person's request is read from the store by its
    id, because a task could have named another requester.

    The comparison's ``next`` is ``promote``, ``stage`` (a person must approve) or ``keep_champion``.
    """
    comparison = _compared(ws, config, _as_stored(ws, config, request))
    return comparison.model_copy(update={"next": next_step(config, comparison)})


def next_step(config: ModelConfig, comparison: ComparisonRecord) -> str:
    """Return the step that follows a comparison under the model's policy."""
    if comparison.verdict != "pass" and not comparison.forced_by:
        return "keep_champion"
    return "promote" if config.promotion.approval == "auto" else "stage"


def log_to_mlflow(ws: Workspace, comparison: ComparisonRecord) -> None:
    """Log a comparison to the challenger's run in MLflow, as JSON and as a page in Markdown and HTML.

    A page that cannot be made is left out: it is no part of the verdict that this run carries out.
    """
    if comparison.mlflow_run_id:
        pages = _pages(comparison)
        ws.registry.log_report(comparison.mlflow_run_id, "comparison", comparison.to_dict(), pages)


def _pages(comparison: ComparisonRecord) -> dict[str, str]:
    try:
        found = page(comparison)
        return {"md": markdown.render(found), "html": html.render(found)}
    except Exception:
        log.warning("the comparison %s is logged without its page", comparison.report_id, exc_info=True)
        return {}


def measure_speed(
    ws: Workspace, config: ModelConfig, champion: int, challenger: int, rows: pa.Table
) -> Mapping[str, BenchmarkResult] | None:
    """Measure latency and size of both versions side by side; None where the policy has no limit on them."""
    if not config.promotion.measures_speed or not rows.num_rows:
        return None
    from keel.evaluation.benchmark.latency import measure_single_row
    from keel.evaluation.benchmark.memory import size_mb

    models = {version: ws.registry.load(config, version) for version in (champion, challenger)}
    measured = {
        version: replace(speed, size_mb=size_mb(ws.registry, config.model, version))
        for version, speed in measure_single_row(models, rows).items()
    }
    return {"champion": measured[champion], "challenger": measured[challenger]}


def _as_stored(ws: Workspace, config: ModelConfig, request: Request) -> Request:
    """Return a person's request as it was stored. Without one, there is no force and no experiment as evidence."""
    if stored := read_decision(ws, config.model, request.decision_id, PromotionRequest):
        return stored
    if isinstance(request, PromotionRequest):
        return request.model_copy(update={"forced_by": None, "experiment": None})
    return request


def _compared(ws: Workspace, config: ModelConfig, request: Request) -> ComparisonRecord:
    champion, challenger = request.champion, request.challenger
    if champion is None:
        reason = f"there is no champion to compare version {challenger} with"
        return _store_without_rows(ws, request, Verdict.PASS, f"{reason}{_own_metric(ws, config, challenger)}")
    if champion == challenger:
        reason = f"version {champion}, the champion, is what this decision or these rows trained before"
        return _store_without_rows(ws, request, Verdict.FAIL, reason)
    reached = history(ws.store, config.model).version_statuses.get(challenger)
    if reached is not None and reached.status not in PROMOTABLE:
        before = _comparison_before(ws, request)
        if before is not None and reached.status is not Status.QUARANTINED:
            return before
        reason = f"version {challenger} is {reached.status}: {reached.reason}"
        return _store_without_rows(ws, request, Verdict.FAIL, reason)
    if isinstance(request, PromotionRequest) and request.experiment:
        return _by_experiment(ws, config, request, request.experiment)
    if fault := _champion_fault(ws, config, champion):
        return _store_without_rows(ws, request, Verdict.INCONCLUSIVE, fault)
    return _on_holdout(ws, config, request, champion)


def _on_holdout(ws: Workspace, config: ModelConfig, request: Request, champion: int) -> ComparisonRecord:
    challenger = request.challenger
    quarantine_broken_labels(ws, config, request.holdout.start, request.holdout.end, run_id=request.decision_id)
    rows, span = unseen_holdout(ws, config, request.holdout.to_dict(), champion, challenger)
    unseen = Span.from_dict(span)
    identity = comparison_id(ws, request, unseen, rows=rows.num_rows)
    used_before = prior_comparisons(ws, identity, request, unseen, rows=rows.num_rows)
    scores = score_version(ws, config, champion, rows), score_version(ws, config, challenger, rows)
    found = compare_versions(
        *scores,
        metric=config.performance.metric,
        policy=config.promotion,
        times=rows["time"].to_numpy().astype("datetime64[us]"),
        segments={name: rows[name].to_numpy(zero_copy_only=False) for name in config.promotion.segments},
        prior_comparisons=used_before,
        holdout_end=unseen.end,
        speed=measure_speed(ws, config, champion, challenger, rows),
    )
    details = details_of(ws, config, found, scores, (champion, challenger), request.until)
    about = {"holdout": unseen, "prior_comparisons": used_before, "report_id": identity}
    return _store(ws, request, {**found.to_dict(), **details, **about})


def _by_experiment(
    ws: Workspace, config: ModelConfig, request: PromotionRequest, experiment_id: str
) -> ComparisonRecord:
    """Return the comparison of an experiment with these two versions, if it is recent enough.

    A holdout is older than the experiment, so it cannot overrule what was measured in production.
    """
    shown = comparison_of_experiment(ws, config, experiment_id)
    if (shown.champion, shown.challenger) == (request.champion, request.challenger):
        assert shown.until is not None
        logged = ws.predictions(config).times()
        # A requested end in the past makes no evidence younger than the predictions logged since.
        now = max(request.until, logged[1] if logged else request.until)
        age = now - shown.until
        if age <= config.promotion.max_label_age:
            identity = comparison_id(ws, request, shown.holdout)
            return store_comparison(ws, shown.model_copy(update={**_provenance(request), "report_id": identity}))
        reason = f"{experiment_id} ended {age} before, and promotion.max_label_age is the age that evidence may have"
    else:
        versions = f"version {shown.challenger} with version {shown.champion}"
        reason = f"{experiment_id} compared {versions}, and production has changed since"
    reason = f"inconclusive: {reason}: start another experiment, or request the promotion without one"
    return _store_without_rows(ws, request, Verdict.INCONCLUSIVE, reason)


def _champion_fault(ws: Workspace, config: ModelConfig, champion: int) -> str:
    """Return why the champion cannot be compared with; then only a person can force another version into its place."""
    try:
        ws.registry.reference(config.model, champion)
        ws.registry.load(config, champion)
    except (ArtifactChanged, ConfigError, UnknownVersion) as error:
        return (
            f"champion {champion} cannot be scored: {error}; to replace it without a comparison, start "
            f"{config.model}.promote with the version, force and a reason"
        )
    return ""


def _own_metric(ws: Workspace, config: ModelConfig, version: int) -> str:
    """Return the metric of a version on its own holdout, as a sentence without its full stop; empty where unknown."""
    try:
        reference = ws.registry.reference(config.model, version)
    except (ArtifactChanged, ConfigError, UnknownVersion):  # it will not be promoted, and that error says why
        return ""
    metric = config.performance.metric
    value = finite_or_none(reference["metrics"].get(metric, {}).get("value"))
    shown = "is not known" if value is None else f"is {value:.4f}"
    return f". On its holdout of {reference['holdout']['rows']:,} labelled rows, {metric} {shown}"


def _comparison_before(ws: Workspace, request: Request) -> ComparisonRecord | None:
    """Return the comparison of these versions that this decision led to before; a finished task may run again."""
    wanted = request.decision_id, request.champion, request.challenger
    for report in ws.store.reports.list(request.model, "comparison", version=request.challenger, limit=None):
        past = ComparisonRecord.from_dict(report["body"])
        if (past.decision_id, past.champion, past.challenger) == wanted:
            return past
    return None


def _store_without_rows(ws: Workspace, request: Request, verdict: Verdict, reason: str) -> ComparisonRecord:
    """Store a comparison whose verdict needs no rows."""
    holdout = Span(start=request.holdout.start, end=request.holdout.end)
    return _store(
        ws,
        request,
        {
            "verdict": verdict,
            "reason": reason,
            "n": 0,
            "holdout": holdout,
            "report_id": comparison_id(ws, request, holdout),
        },
    )


def _store(ws: Workspace, request: Request, found: Mapping[str, Any]) -> ComparisonRecord:
    """Store a comparison with where it comes from and its sentence, and log it to MLflow."""
    reason = found["reason"]
    if found["n"]:
        sentence = f"Challenger {request.challenger} against champion {request.champion}: {reason}."
    else:  # there was nothing to compare, so the reason is about one version
        sentence = f"{capitalised(reason)}."
    provenance = _provenance(request)
    if provenance["forced_by"] and found["verdict"] != Verdict.PASS:
        sentence += f" {provenance['forced_by']} forces the promotion: {getattr(request, 'reason', '')}."
    comparison = ComparisonRecord.from_dict({**found, **provenance, "model": request.model, "sentence": sentence})
    store_comparison(ws, comparison)
    log_to_mlflow(ws, comparison)
    return comparison


def _provenance(request: Request) -> dict[str, Any]:
    """Return where a comparison comes from, beside what it found."""
    forced_by = request.forced_by if isinstance(request, PromotionRequest) else None
    return {
        "decision_id": request.decision_id,
        "champion": request.champion,
        "challenger": request.challenger,
        "mlflow_run_id": request.mlflow_run_id,
        "until": request.until,
        "forced_by": forced_by,
        "requested_by": request.requested_by,
    }
