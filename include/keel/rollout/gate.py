"""Champion against challenger on rows that neither has seen, and the record of what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel.deployments.history import PROMOTABLE, Status, history
from keel.errors import ArtifactChanged, ConfigError, UnknownVersion
from keel.evaluation.holdout.comparison import Verdict, compare_versions
from keel.evaluation.holdout.report import render
from keel.monitoring.decision import Action
from keel.rollout.experiment_evidence import as_asked, proven_by
from keel.rollout.holdout_reuse import identity_of, prior_comparisons
from keel.training.datasets import score_version, unseen_holdout
from keel.window import now_utc, times_of

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.config import ModelConfig
    from keel.monitoring.records import Plain
    from keel.workspace import Workspace

PROVENANCE = ("decision_id", "champion", "challenger", "mlflow_run_id", "until", "forced_by", "requested_by")
"""What a comparison says of where it comes from, beside what it found."""


def compare(ws: Workspace, config: ModelConfig, asked: Mapping[str, Any]) -> Plain:
    """Judge the challenger against the champion on the same holdout, which neither has seen, and keep the record.

    asked: what `keel.loop.retrain` or `request_promotion` returned; what a person has asked for is read as it was kept.
    ``next`` is ``promote``, ``stage`` (a person must agree) or ``keep_champion``.
    """
    asked = _as_kept(ws, config, asked)
    provenance = {name: asked.get(name) for name in PROVENANCE}
    body = _judge(ws, config, asked, provenance)
    shown = body["verdict"] == Verdict.PASS or body["forced_by"]
    agreed = "promote" if config.promotion.approval == "auto" else "stage"
    return {**body, "next": agreed if shown else "keep_champion"}


def _as_kept(ws: Workspace, config: ModelConfig, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a person has asked for as it was kept; what nobody has asked for rests on nothing else either."""
    decision = ws.store.decisions.get(asked["decision_id"])
    if decision is None or (decision["model"], decision["action"]) != (config.model, Action.PROMOTE):
        return {**asked, "forced_by": None, "experiment": None}
    body: Plain = decision["body"]
    return body


def _judge(ws: Workspace, config: ModelConfig, asked: Mapping[str, Any], provenance: Plain) -> Plain:
    champion, challenger = asked["champion"], asked["challenger"]
    if champion is None:
        reason = f"version {challenger} is the first; there is no champion to compare it with"
        return _keep(ws, config, asked, _without_rows(Verdict.PASS, reason, asked["holdout"]), provenance)
    if champion == challenger:
        reason = f"version {champion}, the champion, is what this decision or these rows have made before"
        return _keep(ws, config, asked, _without_rows(Verdict.FAIL, reason, asked["holdout"]), provenance)
    standing = history(ws.store, config.model).version_statuses.get(challenger)
    if standing is not None and standing.status not in PROMOTABLE:
        before = _judged_before(ws, config, asked)
        if before is not None and standing.status is not Status.QUARANTINED:
            return before
        reason = f"version {challenger} is {standing.status}: {standing.reason}"
        return _keep(ws, config, asked, _without_rows(Verdict.FAIL, reason, asked["holdout"]), provenance)
    if asked.get("experiment"):
        return _by_experiment(ws, config, asked, provenance)
    if broken := _unusable(ws, config, champion):
        return _keep(ws, config, asked, _without_rows(Verdict.INCONCLUSIVE, broken, asked["holdout"]), provenance)
    holdout, unseen = unseen_holdout(ws, config, asked["holdout"], champion, challenger)
    identity = identity_of(ws, config.model, asked, unseen, rows=holdout.num_rows)
    looks = prior_comparisons(ws, config.model, identity, asked, unseen, rows=holdout.num_rows)
    found = compare_versions(
        score_version(ws, config, champion, holdout),
        score_version(ws, config, challenger, holdout),
        metric=config.performance.metric,
        policy=config.promotion,
        times=holdout["time"].to_numpy().astype("datetime64[us]"),
        segments={name: holdout[name].to_numpy(zero_copy_only=False) for name in config.promotion.segments},
        prior_comparisons=looks,
        holdout_end=times_of(unseen)[1],
        speed=measure_speed(ws, config, champion, challenger, holdout),
    ).to_dict()
    return _keep(ws, config, asked, {**found, "holdout": unseen, "prior_comparisons": looks}, provenance, identity)


def _by_experiment(ws: Workspace, config: ModelConfig, asked: Mapping[str, Any], provenance: Plain) -> Plain:
    """Return what an experiment has shown on these two versions, where it still tells of them.

    What was shown in production is not to be undone by a holdout that is older than it.
    """
    shown = proven_by(ws, config, asked["experiment"])
    if (shown["champion"], shown["challenger"]) == (asked["champion"], asked["challenger"]):
        logged = ws.predictions(config).times()
        asked_until = datetime.fromisoformat(asked["until"])
        # Whoever asks says until when; a day in the past makes no evidence younger than the rows that came since.
        age = max(asked_until, logged[1] if logged else asked_until) - datetime.fromisoformat(shown["until"])
        if age <= config.promotion.max_label_age:
            return as_asked(ws, shown, provenance, identity_of(ws, config.model, asked, shown["holdout"]))
        reason = (
            f"{asked['experiment']} ended {age} before, and promotion.max_label_age is the age that evidence may have"
        )
    else:
        versions = f"version {shown['challenger']} with version {shown['champion']}"
        reason = f"{asked['experiment']} compared {versions}, and production has changed since"
    reason = f"inconclusive: {reason}: start another experiment, or ask without it"
    return _keep(ws, config, asked, _without_rows(Verdict.INCONCLUSIVE, reason, asked["holdout"]), provenance)


def _unusable(ws: Workspace, config: ModelConfig, champion: int) -> str:
    """Return why nothing can be compared with the champion; only a person's force puts another in its place then."""
    try:
        ws.registry.reference(config.model, champion)
        ws.registry.load(config, champion)
    except (ArtifactChanged, ConfigError, UnknownVersion) as error:
        return (
            f"champion {champion} cannot be scored: {error}; to replace it unseen, start {config.model}.promote with "
            "force and a reason"
        )
    return ""


def _keep(
    ws: Workspace, config: ModelConfig, asked: Mapping[str, Any], found: Mapping[str, Any], provenance: Plain,
    identity: str | None = None,
) -> Plain:  # fmt: skip
    """Store the record under the identity that its versions and rows give it, and log it to MLflow."""
    champion, challenger, window = asked["champion"], asked["challenger"], found["holdout"]
    identity = identity or identity_of(ws, config.model, asked, window)
    sentence = f"Challenger {challenger} against champion {champion}: {found['reason']}."
    if not found["n"]:  # told of the version, as there was nothing to compare
        sentence = f"{found['reason'][0].upper()}{found['reason'][1:]}."
    if provenance["forced_by"] and found["verdict"] != Verdict.PASS:
        sentence += f" {provenance['forced_by']} forces it: {asked['reason']}."
    body = {**found, **provenance, "model": config.model, "report_id": identity, "sentence": sentence}
    ws.store.reports.put(
        identity, config.model, challenger, "comparison", *_span(window), body["verdict"], body, now_utc()
    )
    if asked.get("mlflow_run_id"):
        ws.registry.log_report(asked["mlflow_run_id"], "comparison", body, page=render(body))
    return body


def _judged_before(ws: Workspace, config: ModelConfig, asked: Mapping[str, Any]) -> Plain | None:
    """Return what was found of these two for this very decision, as when a finished task runs again."""
    for report in ws.store.reports.list(config.model, "comparison", version=asked["challenger"], limit=None):
        body: Plain = report["body"]
        if all(body[name] == asked[name] for name in ("decision_id", "champion", "challenger")):
            return body
    return None


def _without_rows(verdict: Verdict, reason: str, holdout: Mapping[str, Any]) -> Plain:
    """Return the record of a verdict that needs no rows."""
    return {
        "verdict": str(verdict), "reason": reason, "n": 0, "prior_comparisons": 0,
        "holdout": {"start": holdout["start"], "end": holdout["end"]},
    }  # fmt: skip


def _span(window: Mapping[str, Any]) -> tuple[datetime, datetime]:
    start, end = times_of(window)
    return min(start, end), end


def measure_speed(
    ws: Workspace, config: ModelConfig, champion: int, challenger: int, rows: pa.Table
) -> dict[str, Any] | None:
    """Measure both versions side by side where the policy has a limit; None where it has not."""
    if not config.promotion.measures_speed or not rows.num_rows:
        return None
    from keel.evaluation.benchmark.latency import quick
    from keel.evaluation.benchmark.memory import size_mb

    models = {version: ws.registry.load(config, version) for version in (champion, challenger)}
    measured = {
        version: replace(speed, size_mb=size_mb(ws.registry, config.model, version))
        for version, speed in quick(models, rows).items()
    }
    return {"champion": measured[champion], "challenger": measured[challenger]}
