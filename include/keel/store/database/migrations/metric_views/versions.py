"""The life of versions: comparisons, probations, experiments, deployments and the ledger."""

from __future__ import annotations

from keel.store.database.migrations.metric_views.checks import report
from keel.store.database.migrations.metric_views.dialects import Dialect, View


def views(d: Dialect) -> dict[str, View]:
    """Return the views by name, without the prefix."""
    return {
        "comparisons": _comparisons(d),
        "comparison_metrics": _comparison_metrics(d),
        "comparison_slices": _comparison_slices(d),
        "probations": _probations(d),
        "experiments": _experiments(d),
        "experiment_looks": _experiment_looks(d),
        "deployments": _deployments(d),
        "ledger": _ledger(d),
    }


COMPARISON = "WHERE r.kind = 'comparison'"


def _comparisons(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        "report_id": "r.report_id",
        "model": "r.model",
        "champion": d.whole(json, "champion"),
        "challenger": d.whole(json, "challenger"),
        "holdout_start": d.time("r.window_start"),
        "holdout_end": d.time("r.window_end"),
        "compared_at": d.time("r.created_at"),
        "verdict": "r.status",
        "basis": f"coalesce({d.text(json, 'basis')}, 'holdout')",
        "metric": d.text(json, "metric"),
        "n": d.whole(json, "n"),
        **{
            name: d.number(json, name)
            for name in ("champion_value", "challenger_value", "improvement", "lower_bound", "upper_bound", "margin")
        },
        "level": d.number(json, "level"),
        "prior_comparisons": d.whole(json, "prior_comparisons"),
        "reason": d.text(json, "reason"),
    }
    return View(columns, f"FROM reports r {body} {COMPARISON}")


def _comparison_metrics(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        "report_id": "r.report_id",
        "model": "r.model",
        "champion": d.whole(json, "champion"),
        "challenger": d.whole(json, "challenger"),
        "compared_at": d.time("r.created_at"),
        "metric": "m.key",
        **{
            name + suffix: d.number("m.value", name, key)
            for name in ("champion", "challenger")
            for suffix, key in (("_value", "value"), ("_standard_error", "standard_error"))
        },
        "n": d.whole("m.value", "challenger", "n"),
    }
    return View(columns, f"FROM reports r {body} {d.each(json, 'extra_metrics', alias='m')} {COMPARISON}")


def _comparison_slices(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    column, value = d.text("s.value", "column"), d.text("s.value", "value")
    columns = {
        "report_id": "r.report_id",
        "model": "r.model",
        "champion": d.whole(json, "champion"),
        "challenger": d.whole(json, "challenger"),
        "compared_at": d.time("r.created_at"),
        "metric": d.text(json, "metric"),
        "slice": f"{column} || '=' || {value}",
        "slice_column": column,
        "slice_value": value,
        "status": d.text("s.value", "status"),
        "n": d.whole("s.value", "n"),
        "improvement": d.number("s.value", "improvement"),
        "standard_error": d.number("s.value", "standard_error"),
        "lower_bound": d.number("s.value", "lower_bound"),
    }
    return View(columns, f"FROM reports r {body} {d.items(json, 'segments', 'found', alias='s')} {COMPARISON}")


def _probations(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        **report(d),
        "previous_version": d.whole(json, "previous"),
        "watched_at": d.time("r.created_at"),
        "verdict": "r.status",
        "is_over": d.flag(json, "over"),
        "metric": d.text(json, "metric"),
        "n": d.whole(json, "n"),
        "current_loss": d.number(json, "current_loss"),
        "previous_loss": d.number(json, "previous_loss"),
        "limit_of_holdout": d.number(json, "baseline_limit"),
        "harm_evidence": d.number(json, "harm", "evidence"),
        "harm_threshold": d.number(json, "harm", "threshold"),
        "sentence": d.text(json, "sentence"),
    }
    return View(columns, f"FROM reports r {body} WHERE r.kind = 'probation'")


LOOK = "'experiment-look-' || substr(e.experiment_id, 12)"
"""The id of the report of an experiment's last evaluation."""


def _experiments(d: Dialect) -> View:
    plan, plan_json = d.body("e.plan", "p")
    look, look_json = d.body("r.body", "b")
    outcome, outcome_json = d.body("e.outcome", "o")
    columns = {
        "experiment_id": "e.experiment_id",
        "model": "e.model",
        "status": "e.status",
        "mode": d.text(plan_json, "mode"),
        "champion": "e.champion",
        "challenger": "e.challenger",
        "metric": d.text(plan_json, "metric"),
        "margin": d.number(plan_json, "margin"),
        "alpha": d.number(plan_json, "alpha"),
        "max_n": d.whole(plan_json, "max_n"),
        "started_at": d.time("e.started_at"),
        "ended_at": d.time("e.ended_at"),
        "verdict": "r.status",
        "n": d.whole(look_json, "n"),
        "improvement": d.number(look_json, "improvement"),
        "lower_bound": d.number(look_json, "lower_bound"),
        "upper_bound": d.number(look_json, "upper_bound"),
        "champion_coverage": d.number(look_json, "champion", "coverage"),
        "challenger_coverage": d.number(look_json, "challenger", "coverage"),
        "outcome": d.text(outcome_json, "outcome"),
        "sentence": f"coalesce({d.text(outcome_json, 'sentence')}, {d.text(look_json, 'sentence')})",
    }
    source = f"FROM experiments e LEFT JOIN reports r ON r.report_id = {LOOK} {plan} {look} {outcome}"
    return View(columns, source)


def _experiment_looks(d: Dialect) -> View:
    body, json = d.body("r.body", "b")
    columns = {
        "experiment_id": "e.experiment_id",
        "model": "e.model",
        "looked_at": d.moment("k.value", "at"),
        "n": d.whole("k.value", "n"),
        "improvement": d.number("k.value", "improvement"),
        "lower_bound": d.number("k.value", "lower"),
        "upper_bound": d.number("k.value", "upper"),
    }
    source = f"FROM experiments e JOIN reports r ON r.report_id = {LOOK} {body} {d.items(json, 'path', alias='k')}"
    return View(columns, source)


def _deployments(d: Dialect) -> View:
    body, json = d.body("l.body", "b")
    since = f"CASE WHEN l.action = 'rollback' THEN NULL ELSE {d.moment(json, 'probation', 'since')} END"
    now, before = d.whole(json, "to", "production"), d.whole(json, "from", "production")
    columns = {
        "seq": "l.seq",
        "model": "l.model",
        "deployed_at": d.time("l.at"),
        "since": f"coalesce({since}, {d.time('l.at')})",
        "action": "l.action",
        "actor": "l.actor",
        "generation": "l.generation_to",
        "production_version": now,
        "replaced_version": before,
        "staging_version": d.whole(json, "to", "staging"),
        "previous_version": d.whole(json, "to", "previous"),
        "is_change": f"(coalesce({now}, 0) <> coalesce({before}, 0))",
        "reason": f"coalesce({d.text(json, 'evidence', 'reason')}, {d.text(json, 'evidence', 'sentence')})",
        "run_id": d.text(json, "run_id"),
    }
    return View(columns, f"FROM ledger l {body} WHERE {d.text(json, 'to')} IS NOT NULL")


def _ledger(d: Dialect) -> View:
    body, json = d.body("l.body", "b")
    columns = {
        "seq": "l.seq",
        "model": "l.model",
        "recorded_at": d.time("l.at"),
        "actor": "l.actor",
        "action": "l.action",
        "generation_from": "l.generation_from",
        "generation_to": "l.generation_to",
        "reason": d.text(json, "evidence", "reason"),
        "sentence": d.text(json, "evidence", "sentence"),
        "report_id": d.text(json, "evidence", "report_id"),
        "run_id": d.text(json, "run_id"),
    }
    return View(columns, f"FROM ledger l {body}")
