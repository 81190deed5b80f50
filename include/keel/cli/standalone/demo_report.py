"""Print the decisions about a model from its store, oldest first, and its performance by month."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from keel.monitoring.records import StoredDriftReport
from keel.monitoring.storage import CHECKS, report_id
from keel.reports.column_words import summary
from keel.reports.publication import MAIN, published
from keel.window import Window

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

TOP_FEATURES = 4
TOP_ALARMS = 4
ALL = 10_000
CHANGED = ("drift", "warn")
OUTCOMES = {
    "promoted": ("promoted", "bold green"),
    "kept_champion": ("champion kept", "bold yellow"),
    "confirmed": ("probation passed", "bold green"),
    "probation_over": ("probation ended", "bold yellow"),
    "rolled_back": ("rolled back", "bold red"),
    "quarantined": ("data quarantined", "bold red"),
    "labels_quarantined": ("labels quarantined", "bold red"),
}
"""Label and style of an outcome on a terminal."""


def chapters(ws: Workspace, config: ModelConfig) -> list[dict[str, Any]]:
    """Return each decision about a model with its reports, outcome and DAG run, oldest window first."""
    found = []
    decisions = sorted(
        ws.store.decisions.list(config.model, limit=ALL), key=lambda d: (d["window_end"], d["created_at"])
    )
    for decision in decisions:
        body = decision["body"]
        chapter = {**body, "run_id": decision["run_id"], "outcome": decision["outcome"]}
        window = Window.from_dict(body["window"])
        for kind in CHECKS:
            report = ws.store.reports.get(report_id(kind, body["model"], body["version"], window))
            chapter[kind] = report["body"] if report else None
        chapter["report"] = _report_of(ws, decision["decision_id"])
        found.append(chapter)
    return found


def _report_of(ws: Workspace, decision_id: str) -> str | None:
    """Return where the page of a check is: its file, as the demo's MLflow has stopped when a reader looks for it."""
    page = published(ws, decision_id)
    if page is None:
        return None
    file = next(ws.home.glob(f"mlartifacts/*/{page.run_id}/artifacts/{page.folder}/{MAIN}"), None)
    return str(file or page.address)


def print_story(
    console: Console,
    config: ModelConfig,
    decisions: Iterable[dict[str, Any]],
    messages: dict[str, list[dict[str, Any]]],
) -> None:
    """Print a paragraph for each decision, then a table of all decisions.

    Parameters
    ----------
    console : Console
        Where to print.
    config : ModelConfig
        The model.
    decisions : iterable of dict
        Decisions, as `chapters` returns them.
    messages : dict
        Those of each run, by its id, as `keel.cli.standalone.demo_messages.read_messages` returns them.

    """
    decisions = list(decisions)
    console.rule(f"What happened to {config.model}")
    for chapter in decisions:
        console.print(_chapter(chapter, messages.get(chapter["run_id"], [])), soft_wrap=True)
    console.rule("Summary")
    console.print(_summary(decisions))


def _chapter(chapter: dict[str, Any], messages: list[dict[str, Any]]) -> RenderableType:
    """Return a paragraph: the window and the outcome, then the reason, the evidence, the run and its messages."""
    outcome = chapter["outcome"] or {}
    verdict = outcome.get("outcome", chapter["action"])
    label, style = OUTCOMES.get(verdict, (verdict.replace("_", " "), "bold"))
    version = f"version {chapter['version']}" if chapter["version"] else "no version yet"
    title = Text(f"{_day(chapter['window']['start'])} to {_day(chapter['window']['end'])}, {version}: ", style="bold")
    title.append(label, style=style)
    lines: list[RenderableType] = [Text(), title, Text(f"  {chapter['sentence']}")]
    lines += [Text(f"  {line}", style="dim") for line in _drift_lines(chapter["drift"])]
    if outcome.get("lower_bound") is not None:
        lines += [Text(f"  {line}") for line in _comparison_lines(outcome)]
    if outcome.get("sentence") and not outcome["sentence"].endswith(chapter["sentence"]):
        lines.append(Text(f"  {outcome['sentence']}", style=style if verdict in OUTCOMES else ""))
    lines.append(Text(f"  Run: {chapter['run_id']}", style="dim"))
    lines += [Text(f"  Report: {chapter['report']}", style="dim")] if chapter.get("report") else []
    for message in messages:
        lines.append(Text(f"  Told: {message['subject']}"))
        where = [each["file"] or each["answer"] or "not sent yet" for each in message["deliveries"]]
        lines += [Text(f"        {each}", style="dim") for each in dict.fromkeys(where)]
    return Group(*lines)


def _drift_lines(drift: dict[str, Any] | None) -> list[str]:
    if not drift:
        return []
    report = StoredDriftReport.from_dict(drift)
    changed = [(name, column) for name, column in report.features.items() if column.severity in CHANGED]
    head = f"Drift: {report.count}, on {report.n:,} rows."
    shown = [
        f"  {name}: {column.status.replace('_', ' ')} ({summary(column)})" for name, column in changed[:TOP_FEATURES]
    ]
    more = len(changed) - len(shown)
    rest = [f"  and {more} more column{'s' if more > 1 else ''}"] if more > 0 else []
    return [head, *shown, *rest]


def _comparison_lines(outcome: dict[str, Any]) -> list[str]:
    data = "Experiment" if outcome.get("basis") == "experiment" else "Holdout"
    metric = outcome["metric"]
    start, end = (_day(outcome["holdout"][name]) for name in ("start", "end"))
    return [
        f"{data} of {start} to {end}, {outcome['n']:,} rows: {metric} is {outcome['champion_value']:.4f} for "
        f"champion {outcome['champion']} and {outcome['challenger_value']:.4f} for challenger {outcome['challenger']}.",
        f"The improvement is {outcome['improvement']:+.4f}, its lower bound {outcome['lower_bound']:+.4f}.",
    ]


def _summary(decisions: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("until", "production", "decision", "outcome", "bound"):
        table.add_column(column)
    for chapter in decisions:
        outcome = chapter["outcome"] or {}
        bound, verdict = outcome.get("lower_bound"), outcome.get("outcome", "–")
        label = OUTCOMES.get(verdict, (verdict.replace("_", " "), ""))[0]
        table.add_row(
            _day(chapter["window"]["end"]),
            f"version {chapter['version']}" if chapter["version"] else "none yet",
            chapter["action"].replace("_", " "),
            f"{label} (version {outcome['version']})" if outcome.get("version") else label,
            "" if bound is None else f"{bound:+.4f}",
        )
    return table


def _day(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d}"


def print_performance(console: Console, performance: Iterable[dict[str, Any]]) -> None:
    """Print the performance of each version in each month beside the baseline from its holdout."""
    parts = list(performance)
    table = Table(box=None, pad_edge=False)
    metric = parts[0]["metric"] if parts else "metric"
    for column in ("month", "version", "answered", "labelled", metric, "95%", "baseline"):
        table.add_column(column, no_wrap=True)
    for part in parts:
        found = part["metrics"][part["metric"]]
        table.add_row(
            f"{datetime.fromisoformat(part['start']):%Y-%m}",
            str(part["version"]),
            f"{part['predictions']:,}",
            f"{part['labelled']:,}",
            _number(found["value"]),
            f"{_number(found['lower'])} to {_number(found['upper'])}",
            _number((found["holdout"] or {}).get("value")),
        )
    console.print(table)


def print_alarms(console: Console, alarms: Sequence[str]) -> None:
    """Print the live alarms that a check has judged, at most `TOP_ALARMS`."""
    number, them = ("1 live alarm", "it") if len(alarms) == 1 else (f"{len(alarms)} live alarms", "them")
    console.print(f"\n{number} opened after the last month, and started a check, which judged {them}:", soft_wrap=True)
    for sentence in alarms[:TOP_ALARMS]:
        console.print(f"  {sentence}", soft_wrap=True, markup=False)
    if len(alarms) > TOP_ALARMS:
        console.print(f"  and {len(alarms) - TOP_ALARMS} more: keel live shows them", soft_wrap=True)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
