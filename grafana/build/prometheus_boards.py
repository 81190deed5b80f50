"""The dashboards that read Prometheus: the scoring service, and Keel's own health."""

from __future__ import annotations

from grafana.build.parts import GREEN, PROMETHEUS_VARIABLES, RED, YELLOW, Json, dashboard, lines, number, promql

WHERE = 'job=~"$job", instance=~"$instance"'
MINE = f'{WHERE}, model=~"$model"'
RATE = "[$__rate_interval]"


def serving() -> Json:
    """Return the dashboard of the scoring service."""
    quantiles = tuple(
        (f"histogram_quantile({q}, sum by (le) (rate(keel_request_duration_seconds_bucket{{{MINE}}}{RATE})))", name)
        for q, name in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    )
    panels = [
        lines("Requests", "Answers a second, by status.",
              promql((f"sum by (status) (rate(keel_requests_total{{{MINE}}}{RATE}))", "{{status}}")), unit="reqps"),
        lines("Latency", "From a request's first byte to the last of its answer.", promql(*quantiles), unit="s"),
        lines("Predictions", "Rows answered a second, by version and arm.",
              promql((f"sum by (model, version, arm) (rate(keel_predictions_total{{{MINE}}}{RATE}))",
                      "{{model}} {{version}} {{arm}}")), unit="rowsps"),
        lines("Share of failed requests", "Answers with a status of 500 or more, of all.",
              promql((f"""(sum by (model) (rate(keel_requests_total{{{MINE}, status=~"5.."}}{RATE}))
                          or 0 * sum by (model) (rate(keel_requests_total{{{MINE}}}{RATE})))
                          / sum by (model) (rate(keel_requests_total{{{MINE}}}{RATE}))""", "{{model}}")),
              unit="percentunit", min=0),
        lines("Versions in memory", "1 for each, by its role.",
              promql((f"max by (model, version, role) (keel_serves_version{{{MINE}}})",
                      "{{model}} {{version}} {{role}}"))),
        lines("Loads of versions", "Since the service started, by outcome.",
              promql((f"sum by (model, outcome) (increase(keel_reloads_total{{{MINE}}}{RATE}))",
                      "{{model}} {{outcome}}"))),
        lines("Stored predictions", "Rows that reached the store, a second.",
              promql((f"sum by (model, outcome) (rate(keel_stored_total{{{MINE}}}{RATE}))", "{{model}} {{outcome}}")),
              unit="rowsps"),
        lines("Labels", "Labels that reached the store, a second, by outcome.",
              promql((f"sum by (model, outcome) (rate(keel_labels_total{{{MINE}}}{RATE}))", "{{model}} {{outcome}}")),
              unit="rowsps"),
        lines("Realised performance", "Over the last hours whose labels have matured, with its interval.",
              promql((f"max by (model, version, window, metric, bound) (keel_model_performance{{{MINE}}})",
                      "{{model}} {{version}} {{window}} {{metric}} {{bound}}"))),
        lines("Challengers that failed", "Requests on which a challenger or shadow failed; the champion answered.",
              promql((f"sum(increase(keel_challenger_failures_total{{{WHERE}}}{RATE}))", "failures"))),
    ]  # fmt: skip
    return dashboard("serving", "Serving", "The scoring service: traffic, latency, versions, labels.", panels,
                     PROMETHEUS_VARIABLES, since="now-6h")  # fmt: skip


def health() -> Json:
    """Return the dashboard of Keel's own health."""
    none = (None, GREEN)
    panels = [
        number("Services", "Scoring services that answer Prometheus.",
               promql((f"sum(up{{{WHERE}}})", "up"), instant=True), steps=((None, RED), (1, GREEN))),
        number("Overdue checks", "Models whose check is more than an hour late.",
               promql((f"count(time() - keel_check_due_timestamp_seconds{{{MINE}}} > 3600) or vector(0)", "overdue"),
                      instant=True), steps=(none, (1, RED))),
        number("Oldest in the spool", "Age of the oldest answer that is not in the store.",
               promql((f"max(keel_spool_oldest_seconds{{{WHERE}}})", "age"), instant=True),
               unit="s", steps=(none, (300, YELLOW), (900, RED))),
        number("Dead letters", "Records that cannot be stored.",
               promql((f"sum(keel_spool_dead_letters{{{WHERE}}})", "records"), instant=True), steps=(none, (1, RED))),
        number("Messages that wait", "Messages that no receiver has accepted.",
               promql((f"sum(keel_alerts_undelivered{{{WHERE}}})", "messages"), instant=True),
               steps=(none, (1, YELLOW))),
        number("Stalled monitors", "Models whose live monitors do not read what waits.",
               promql((f"sum(keel_live_stalled{{{MINE}}}) or vector(0)", "stalled"), instant=True),
               steps=(none, (1, RED))),
        lines("Time until the next check", "Below 0: it is overdue.",
              promql((f"min by (model) (keel_check_due_timestamp_seconds{{{MINE}}} - time())", "{{model}}")), unit="s"),
        lines("Time since the last check", "By the clock.",
              promql((f"min by (model) (time() - keel_check_last_timestamp_seconds{{{MINE}}})", "{{model}}")),
              unit="s"),
        lines("Open alerts", "By model and severity; an empty model stands for what concerns no single one.",
              promql((f"max by (model, severity) (keel_alerts_open{{{MINE}}})", "{{model}} {{severity}}"))),
        lines("Channels", "Messages that wait, and open alerts about a channel.",
              promql((f"max by (channel) (keel_alerts_undelivered{{{WHERE}}})", "{{channel}} waits"),
                     (f"max by (channel) (keel_alerts_channel_broken{{{WHERE}}})", "{{channel}} broken"))),
        lines("Spool", "Records that are not in the store; deferred ones the store refuses.",
              promql((f"sum by (instance) (keel_spool_records{{{WHERE}}})", "{{instance}} waiting"),
                     (f"sum by (instance) (keel_spool_deferred_records{{{WHERE}}})", "{{instance}} deferred"))),
        lines("Spool on disk", "Its size.",
              promql((f"sum by (instance) (keel_spool_bytes{{{WHERE}}})", "{{instance}}")), unit="bytes"),
        lines("Evidence of live monitors", "Decimal logarithm, of those nearest to their bound.",
              promql((f"max by (model, kind, monitor) (keel_live_evidence{{{MINE}}})",
                      "{{model}} {{kind}} {{monitor}}"),
                     (f"max by (model, kind) (keel_live_bound{{{MINE}}})", "{{model}} bound of {{kind}}"))),
        lines("Rows that live monitors have not read", "More than a block waits where nothing reads them.",
              promql((f"max by (model) (keel_live_waiting_rows{{{MINE}}})", "{{model}}"))),
        lines("Open live alarms", "Alarms that no check has judged.",
              promql((f"max by (model, kind) (keel_live_open_alarms{{{MINE}}})", "{{model}} {{kind}}"))),
        lines("Restarts of workers", "Processes of the service that ended by themselves.",
              promql((f"sum by (instance) (increase(keel_worker_restarts_total{{{WHERE}}}{RATE}))", "{{instance}}"))),
    ]  # fmt: skip
    return dashboard("health", "Health", "Whether Keel itself works: checks, spool, messages, monitors.", panels,
                     PROMETHEUS_VARIABLES, since="now-24h")  # fmt: skip
