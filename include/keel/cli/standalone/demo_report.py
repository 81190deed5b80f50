"""What happened to a model, told from the store: one chapter a decision, oldest first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from keel.alerts.messages.decision import describe_feature
from keel.monitoring.records import KINDS, report_id

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

TOP_FEATURES = 4
ALL = 10_000
MOVED = ("drift", "warn")
OUTCOME_STYLES = {
    "promoted": "bold green",
    "kept_champion": "bold yellow",
    "confirmed": "bold green",
    "probation_over": "bold yellow",
    "rolled_back": "bold red",
    "quarantined": "bold red",
}


def chapters(ws: Workspace, config: ModelConfig) -> list[dict[str, Any]]:
    """Return every decision of a model with its reports, its outcome and its run, oldest window first."""
    told = []
    decisions = sorted(
        ws.store.decisions.list(config.model, limit=ALL), key=lambda d: (d["window_end"], d["created_at"])
    )
    for decision in decisions:
        body = decision["body"]
        chapter = {**body, "run_id": decision["run_id"], "outcome": decision["outcome"]}
        for kind in KINDS:
            report = ws.store.reports.get(report_id(kind, body))
            chapter[kind] = report["body"] if report else None
        told.append(chapter)
    return told


def print_story(
    console: Console, config: ModelConfig, told: Iterable[dict[str, Any]], mails: dict[str, list[str]]
) -> None:
    """Print the chapters; mails: run id → paths of the mails it left in the outbox."""
    told = list(told)
    console.rule(f"The story of {config.model}")
    for chapter in told:
        console.print(_chapter(chapter, mails.get(chapter["run_id"], [])), soft_wrap=True)
    console.rule("In short")
    console.print(_summary(told))


def _chapter(chapter: dict[str, Any], mails: list[str]) -> RenderableType:
    outcome = chapter["outcome"] or {}
    verdict = outcome.get("outcome", chapter["action"])
    title = Text(f"{_day(chapter['window']['start'])} to {_day(chapter['window']['end'])}  ", style="bold")
    title.append(f"version {chapter['version'] or '–'}  ")
    title.append(verdict.replace("_", " "), style=OUTCOME_STYLES.get(verdict, "bold"))
    lines: list[RenderableType] = [Text(), title, Text(f"  {chapter['sentence']}")]
    lines += [Text(f"  {line}", style="dim") for line in _drift_lines(chapter["drift"])]
    if outcome.get("lower_bound") is not None:
        lines.append(Text(f"  {_comparison_line(outcome)}"))
    if outcome.get("sentence") and not outcome["sentence"].endswith(chapter["sentence"]):
        lines.append(Text(f"  {outcome['sentence']}", style=OUTCOME_STYLES.get(verdict, "")))
    lines.append(Text(f"  run {chapter['run_id']}", style="dim"))
    lines += [Text(f"  mail {path}", style="dim") for path in mails]
    return Group(*lines)


def _drift_lines(drift: dict[str, Any] | None) -> list[str]:
    if not drift:
        return []
    moved = [(name, f) for name, f in drift["features"].items() if f["severity"] in MOVED]
    shown = [f"{name} [{f['status']}] {describe_feature(f)}" for name, f in moved[:TOP_FEATURES]]
    more = len(moved) - len(shown)
    head = f"{len(moved)} of {len(drift['features'])} columns moved on {drift['n']:,} rows"
    return [head, *(f"  {line}" for line in shown), *([f"  and {more} more"] if more > 0 else [])]


def _comparison_line(outcome: dict[str, Any]) -> str:
    rows = "experiment" if outcome.get("basis") == "experiment" else "holdout"
    return (
        f"{rows} {_day(outcome['holdout']['start'])} to {_day(outcome['holdout']['end'])}, {outcome['n']:,} rows: "
        f"champion {outcome['champion']} {outcome['metric']} {outcome['champion_value']:.4f}, "
        f"challenger {outcome['challenger']} {outcome['challenger_value']:.4f}; "
        f"improvement {outcome['improvement']:+.4f}, lower bound {outcome['lower_bound']:+.4f}"
    )


def _summary(told: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("until", "production", "decision", "outcome", "lower bound"):
        table.add_column(column)
    for chapter in told:
        outcome = chapter["outcome"] or {}
        bound = outcome.get("lower_bound")
        name = outcome.get("outcome", "–").replace("_", " ")
        table.add_row(
            _day(chapter["window"]["end"]),
            f"version {chapter['version']}" if chapter["version"] else "none yet",
            chapter["action"].replace("_", " "),
            f"{name} (version {outcome['version']})" if outcome.get("version") else name,
            "" if bound is None else f"{bound:+.4f}",
        )
    return table


def _day(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d}"


def print_realised(console: Console, performance: Iterable[dict[str, Any]]) -> None:
    """Print what was realised in each bucket by each version, beside what its holdout had promised."""
    parts = list(performance)
    table = Table(box=None, pad_edge=False)
    metric = parts[0]["metric"] if parts else "metric"
    for column in ("month", "version", "answered", "labelled", metric, "95%", "on its holdout"):
        table.add_column(column, no_wrap=True)
    for part in parts:
        found = part["metrics"][part["metric"]]
        table.add_row(
            f"{datetime.fromisoformat(part['start']):%Y-%m}", str(part["version"]), f"{part['predictions']:,}",
            f"{part['labelled']:,}", _number(found["value"]),
            f"{_number(found['lower'])} to {_number(found['upper'])}", _number((found["holdout"] or {}).get("value")),
        )  # fmt: skip
    console.print(table)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
