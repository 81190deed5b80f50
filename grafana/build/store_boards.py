"""The dashboards that read the store: the fleet, drift, performance, alerts."""

from __future__ import annotations

from grafana.build.parts import (
    DEPLOYMENTS,
    GREEN,
    PAGE,
    RED,
    STORE_VARIABLE,
    STORE_VARIABLES,
    YELLOW,
    Json,
    dashboard,
    lines,
    number,
    panel,
    query,
    statuses,
    table,
)  # fmt: skip

MINE = "model IN (${model:sqlstring})"
IN_TIME = f"$__timeFilter(window_end) AND {MINE}"


def fleet() -> Json:
    """Return the dashboard of all models."""
    none, some = (None, GREEN), (1, RED)
    panels = [
        number("Models", "Models with a deployment.", query("SELECT count(*) AS models FROM keel_models", table=True)),
        number("Open alerts", "Alerts that fire, acknowledged ones included.",
               query("SELECT coalesce(sum(open_alerts), 0) AS alerts FROM keel_models", table=True),
               steps=(none, (1, YELLOW))),
        number("Of these errors", "Open alerts of severity error or critical.",
               query("SELECT coalesce(sum(open_errors), 0) AS errors FROM keel_models", table=True),
               steps=(none, some)),
        number("Degraded", "Models whose performance was degraded in their last check.",
               query("SELECT count(*) FILTER (WHERE performance_status = 'degraded') AS degraded FROM keel_models",
                     table=True), steps=(none, some)),
        number("Drifted", "Models whose inputs had drifted in their last check.",
               query("SELECT count(*) FILTER (WHERE drift_status = 'drift') AS drifted FROM keel_models", table=True),
               steps=(none, (1, YELLOW))),
        number("Experiments", "Experiments that run.",
               query("SELECT count(running_experiment) AS running FROM keel_models", table=True)),
        table("Models, worst first", "What the last check of each model found.", """
            SELECT model, production_version AS version, performance_status, drift_status, quality_status,
              labels_status, share_drifted, performance_increase AS "loss above the holdout", open_alerts, open_errors,
              last_check_at, last_window_end, last_action AS action, running_experiment, last_sentence AS "last check"
            FROM keel_models
            ORDER BY open_errors DESC, performance_status = 'degraded' DESC, open_alerts DESC, model""", height=10),
        lines("Share of features that have drifted", "By model; a check retrains or warns at its configured limit.",
              query("""SELECT window_end AS time, model AS metric, share_drifted AS value FROM keel_drift
                       WHERE $__timeFilter(window_end) AND against = 'training' ORDER BY 1"""),
              unit="percentunit", min=0, max=1),
        lines("Loss above the holdout",
              "The increase of each model's metric over that on its holdout; above 0 is worse.",
              query("""SELECT window_end AS time, model AS metric, increase AS value FROM keel_performance_checks
                       WHERE $__timeFilter(window_end) AND increase IS NOT NULL ORDER BY 1""")),
        lines("Predictions an hour", "Counted predictions, by model.",
              query("""SELECT date_trunc('hour', hour) AS time, model AS metric, sum(predictions) AS value
                       FROM keel_hours WHERE $__timeFilter(hour) GROUP BY 1, 2 ORDER BY 1""")),
        table("Deployments", "Changes of the version in production, by their time in the data.", """
            SELECT since, model, action, replaced_version, production_version, actor, reason FROM keel_deployments
            WHERE is_change AND $__timeFilter(since) ORDER BY since DESC""", width=12),
    ]  # fmt: skip
    return dashboard("fleet", "Fleet", "All models: what is wrong, and where.", panels, (STORE_VARIABLE, PAGE))


def drift() -> Json:
    """Return the dashboard of drift."""
    of_column = "SELECT window_end AS time, model || ' ' || column_name AS metric"
    trained = f"{IN_TIME} AND against = 'training'"
    panels = [
        statuses("Columns over time", "The severity of each column's drift in each window.",
                 f"""{of_column}, CASE severity WHEN 'drift' THEN 2 WHEN 'warn' THEN 1 WHEN 'ok' THEN 0 END AS value
                     FROM keel_drift_columns WHERE {trained} ORDER BY 1""", height=12,
                 custom={"fillOpacity": 80}),
        lines("Share of features that have drifted", "Of the features of a model; outputs are not counted.",
              query(f"""SELECT window_end AS time, model AS metric, share_drifted AS value FROM keel_drift
                        WHERE {trained} ORDER BY 1"""), unit="percentunit", min=0, max=1),
        lines("Impact on the loss", "The change of the mean loss that the drift of all features explains.",
              query(f"""SELECT window_end AS time, model AS metric, impact AS value FROM keel_drift
                        WHERE {trained} AND impact IS NOT NULL ORDER BY 1""")),
        lines("PSI above chance by column", "Population stability index, less what chance gives, in nats.",
              query(f"""{of_column}, psi_excess AS value FROM keel_drift_columns
                        WHERE {trained} AND psi_excess IS NOT NULL ORDER BY 1""")),
        lines("Missing values by column", "Share of a window's rows without a value.",
              query(f"{of_column}, missing_rate AS value FROM keel_profile WHERE {trained} ORDER BY 1"),
              unit="percentunit", min=0),
        table("Columns of the last window, largest impact first", "Measures against the version's reference.", """
            SELECT model, column_name, severity, status, impact, psi, psi_excess, ks, chi_square, jensen_shannon,
              wasserstein, q_value, missing_rate, window_end
            FROM (SELECT c.*, p.missing_rate, max(c.window_end) OVER (PARTITION BY c.model) AS newest
              FROM keel_drift_columns c JOIN keel_profile p USING (report_id, column_name)
              WHERE c.model IN (${model:sqlstring}) AND $__timeFilter(c.window_end) AND c.against = 'training') last
            WHERE window_end = newest ORDER BY model, impact DESC NULLS LAST""", height=12),
        table("Faults of the data", "What the checks of quality found in the windows of this time.", f"""
            SELECT window_end, model, column_name, finding, status, share, sentence FROM keel_quality_findings
            WHERE {IN_TIME} ORDER BY window_end DESC, share DESC LIMIT 500"""),
    ]  # fmt: skip
    return dashboard("drift", "Drift", "Which columns have moved, how far, and what that costs.", panels,
                     STORE_VARIABLES, annotations=[DEPLOYMENTS])  # fmt: skip


def performance() -> Json:
    """Return the dashboard of performance."""
    primary = f"{IN_TIME} AND is_primary"
    panels = [
        lines("Performance and its holdout",
              "The configured metric of each window, its 95 % interval, and the holdout's.",
              query(f"""SELECT window_end AS time, model || ' ' || metric || ' ' || part AS metric, value FROM (
                  SELECT window_end, model, metric, unnest(ARRAY['now', 'lower', 'upper', 'holdout']) AS part,
                    unnest(ARRAY[value, lower_95, upper_95, holdout]) AS value
                  FROM keel_performance WHERE {primary}) each
                  ORDER BY 1"""), width=24, height=10),
        lines("All metrics", "Every metric of each window.",
              query(f"""SELECT window_end AS time, model || ' ' || metric AS metric, value FROM keel_performance
                        WHERE {IN_TIME} AND value IS NOT NULL ORDER BY 1""")),
        lines("Why the loss changed", "What drift of the inputs explains of the change, and what it does not.",
              query(f"""SELECT window_end AS time, model || ' ' || part AS metric, value FROM (
                  SELECT window_end, model, unnest(ARRAY['explained', 'unexplained']) AS part,
                    unnest(ARRAY[explained, unexplained]) AS value FROM keel_performance_checks WHERE {IN_TIME}) each
                  WHERE value IS NOT NULL ORDER BY 1""")),
        lines("Labels", "Share of the predictions due that have a label.",
              query(f"""SELECT window_end AS time, model AS metric, coverage AS value FROM keel_labels
                        WHERE {IN_TIME} AND coverage IS NOT NULL ORDER BY 1"""), unit="percentunit", min=0, max=1),
        lines("Base rate", "The mean label of each window, beside that of the training rows.",
              query(f"""SELECT window_end AS time, model || ' ' || part AS metric, value FROM (
                  SELECT window_end, model, unnest(ARRAY['now', 'training']) AS part,
                    unnest(ARRAY[mean, mean_reference]) AS value FROM keel_labels WHERE {IN_TIME}) each
                  WHERE value IS NOT NULL ORDER BY 1""")),
        table("Comparisons", "Challengers against champions, newest first, whenever they were made.", f"""
            SELECT compared_at, model, champion, challenger, verdict AS status, basis, metric, n, champion_value,
              challenger_value, improvement, lower_bound, upper_bound, reason
            FROM keel_comparisons WHERE {MINE} ORDER BY compared_at DESC LIMIT 100"""),
        table("Experiments", "Running and ended ones.", f"""
            SELECT started_at, model, status AS state, verdict, mode, champion, challenger, metric, n, max_n,
              improvement, lower_bound, upper_bound, sentence
            FROM keel_experiments WHERE {MINE} ORDER BY started_at DESC LIMIT 100"""),
    ]  # fmt: skip
    return dashboard("performance", "Performance", "Does the model still do what its holdout promised?", panels,
                     STORE_VARIABLES, annotations=[DEPLOYMENTS])  # fmt: skip


def alerts() -> Json:
    """Return the dashboard of alerts and messages."""
    with_all = "(model IN (${model:sqlstring}) OR model = '')"
    panels = [
        table("Open alerts", "Worst first; an empty model stands for what concerns no single one.", f"""
            SELECT model, severity, kind, subject, state, first_seen, last_seen, acknowledged_by, is_silenced, sentence
            FROM keel_alerts WHERE is_open AND {with_all}
            ORDER BY array_position(ARRAY['critical', 'error', 'warning', 'info'], severity), first_seen""", height=10),
        panel("barchart", "Alerts by kind", "Alerts first seen in this time.",
              query(f"""SELECT kind, count(*) AS alerts FROM keel_alerts
                        WHERE $__timeFilter(first_seen) AND {with_all} GROUP BY kind ORDER BY 2 DESC""", table=True),
              options={"orientation": "horizontal", "xField": "kind", "legend": {"showLegend": False}}),
        lines("New alerts a day", "By severity.",
              query(f"""SELECT date_trunc('day', first_seen) AS time, severity AS metric, count(*) AS value
                        FROM keel_alerts WHERE $__timeFilter(first_seen) AND {with_all} GROUP BY 1, 2 ORDER BY 1""")),
        table("What happened", "The life of the alerts in this time.", f"""
            SELECT happened_at, model, severity, kind, subject, event, actor FROM keel_alert_events
            WHERE $__timeFilter(happened_at) AND {with_all} ORDER BY happened_at DESC, seq DESC LIMIT 500"""),
        lines("Messages", "By channel and state; pending ones are tried again.",
              query(f"""SELECT date_trunc('hour', created_at) AS time, channel || ' ' || state AS metric,
                          count(*) AS value FROM keel_deliveries
                        WHERE $__timeFilter(created_at) AND {with_all} GROUP BY 1, 2 ORDER BY 1""")),
        table("Messages that have not arrived", "With what the receiver answered last.", f"""
            SELECT created_at, model, channel, state, tries, severity, subject, answer FROM keel_deliveries
            WHERE state <> 'sent' AND {with_all} ORDER BY created_at DESC LIMIT 200""", width=12),
    ]  # fmt: skip
    return dashboard("alerts", "Alerts", "What is open, since when, and whether people heard of it.", panels,
                     STORE_VARIABLES, annotations=[DEPLOYMENTS])  # fmt: skip
