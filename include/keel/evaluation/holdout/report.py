"""Render a comparison as a Markdown page, for people who approve or dispute it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

MAX_SEGMENTS = 20
"""Rows of the table of segments; the record has all of them."""
RENAMED = {"earlier_looks": "prior_comparisons", "n_left_out": "n_excluded", "also": "extra_metrics"}
"""Keys of comparisons that 0.1.0 stored."""
TITLES = {"pass": "Pass", "fail": "Fail", "inconclusive": "Inconclusive"}
STATUSES = {
    "non_inferior": "not worse",
    "inferior": "**worse**",
    "not_shown": "**not shown**",
    "undefined": "**undefined**",
    "too_few": "too few rows",
}


def render(report: Mapping[str, Any]) -> str:
    """Return a stored comparison as Markdown: the verdict, its evidence, and what would change it.

    A comparison without rows, such as that of a first version, is a page with its sentence. Comparisons of 0.1.0 are
    rendered too.
    """
    report = {RENAMED.get(name, name): value for name, value in report.items()}
    parts = [_title(report), f"**{_safe(report.get('sentence') or report['reason'])}**", *_compared(report)]
    if report.get("basis") == "experiment":
        parts += _experiment(report)
    elif report.get("champion_value") is not None:
        parts += ["\n".join(_metrics(report)), *_uncertainty(report)]
    if (segments := report.get("segments")) and segments["found"]:
        parts += ["\n".join(_segments(report, segments))]
    if speed := report.get("speed"):
        parts += ["\n".join(_speed(report, speed))]
    if report.get("basis") != "experiment" and (changes := list(_what_would_change(report))):
        parts += ["## What would change the verdict", "\n".join(f"- {line}" for line in changes)]
    return "\n\n".join(parts) + "\n"


def _title(report: Mapping[str, Any]) -> str:
    title = TITLES.get(report["verdict"], str(report["verdict"]))
    model, champion, challenger = (report.get(name) for name in ("model", "champion", "challenger"))
    about = f": challenger {challenger} against champion {champion}" if champion and challenger else ""
    return f"# {title}{about}" + (f" ({model})" if model else "")


def _compared(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the data of the comparison."""
    excluded = report.get("n_excluded")
    if excluded is None:
        return
    text = f"Compared on {report['n']:,} labelled rows"
    if holdout := report.get("holdout"):
        text += f" of {_time(holdout['start'])} to {_time(holdout['end'])} UTC, which neither version was trained on"
    text += "."
    if newest := report["labels"]["newest"]:
        text += f" The newest label is of {_time(newest)}."
    if balance := report["labels"]["balance"]:
        text += f" {balance['positive']:,} are positive, {balance['negative']:,} negative."
    if excluded["total"]:
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in excluded.items() if reason != "total")
        text += f" Excluded: {excluded['total']:,} rows ({reasons})."
    yield text
    if report.get("prior_comparisons"):
        yield (
            f"{report['prior_comparisons']} earlier comparisons used rows of this holdout. The error level of this one "
            f"is {report['level']:.2%}; that of all together is {report['alpha']:.0%}."
        )


def _experiment(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the result of an experiment in production."""
    plan, interval = report["experiment"], report["holdout"]
    design = "in shadow mode, on the same rows" if plan["mode"] == "shadow" else "on randomly assigned rows"
    yield (
        f"Experiment in production ({plan['experiment_id']}), {design}, from {_time(interval['start'])} to "
        f"{_time(interval['end'])} UTC: {report['n']:,} outcomes, one of each entity."
    )
    yield (
        f"| mean | champion {report['champion']} | challenger {report['challenger']} |\n|---|---|---|\n"
        f"| {_safe(report['loss'])} | {_number(report['champion_value'], None)} | "
        f"{_number(report['challenger_value'], None)} |"
    )
    yield (
        f"Improvement {_signed(report['improvement'])}, from {_signed(report['lower_bound'])} to "
        f"{_signed(report['upper_bound'])}; each bound holds with {1 - report['alpha']:.1%} confidence at any time. "
        f"The lower bound must exceed {report['margin']:g}."
    )


def _metrics(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of both versions' metrics, the deciding one first."""
    of = {who: f"{who} {report.get(who) or ''}".strip() for who in ("champion", "challenger")}
    yield f"| metric (± standard error) | {of['champion']} | {of['challenger']} |"
    yield "|---|---|---|"
    decides = [_number(report[f"{who}_value"], report[f"{who}_standard_error"]) for who in ("champion", "challenger")]
    yield f"| **{report['metric']}**, which decides | {' | '.join(decides)} |"
    for name, both in report["extra_metrics"].items():
        values = [_number(both[who]["value"], both[who]["standard_error"]) for who in ("champion", "challenger")]
        yield f"| {name} | {' | '.join(values)} |"


def _uncertainty(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the difference with its error and lower bound."""
    if report["lower_bound"] is None or report["improvement"] is None:
        return
    yield (
        f"Improvement in {report['metric']}: {report['improvement']:+.4f}, standard error "
        f"{report['standard_error']:.4f}. Lower bound **{report['lower_bound']:+.4f}** with "
        f"{1 - report['level']:.1%} confidence; it must exceed the margin of {report['margin']:g}."
    )
    clusters = report["clusters"]
    if clusters["unit"] == "row":
        yield (
            "The rows are of too few hours to estimate their correlation. The error treats rows as independent, which "
            "is optimistic if rows of one hour are correlated."
        )
    else:
        yield (
            f"Rows of one {clusters['unit']} may be correlated. The error is that of {clusters['count']} clusters of a "
            f"{clusters['unit']} (UTC), worth {clusters['effective']:.1f} independent ones, as neighbours correlate by "
            f"{clusters['neighbours']:.2f}. With independent rows it would be {report['row_standard_error']:.4f}."
        )
    if found := report.get("mcnemar"):
        yield (
            f"{found['only_challenger_right']:,} rows are decided correctly by the challenger only, "
            f"{found['only_champion_right']:,} by the champion only (McNemar's exact p {found['p_value']:.2g}, for "
            "independent rows)."
        )


def _segments(report: Mapping[str, Any], segments: Mapping[str, Any]) -> Iterator[str]:
    evaluated = [segment for segment in segments["found"] if segment["status"] != "too_few"]
    small = len(segments["found"]) - len(evaluated) + segments["not_listed"]
    yield "## Segments"
    yield ""
    yield (
        f"Within each, the lower bound must exceed −{report['segment_margin']:g}. {len(evaluated)} were evaluated; "
        f"{small} were not, as they have fewer than {report['policy']['segment_min_rows']:,} rows."
    )
    if evaluated:
        yield ""
        yield "| segment | rows | improvement | lower bound | |"
        yield "|---|---|---|---|---|"
    for segment in evaluated[:MAX_SEGMENTS]:
        name = f"{segment['column']} = {_safe(segment['value'])}"
        bounds = f"{_signed(segment['improvement'])} | {_signed(segment['lower_bound'])}"
        yield f"| {name} | {segment['n']:,} | {bounds} | {STATUSES[segment['status']]} |"
    if len(evaluated) > MAX_SEGMENTS:
        yield ""
        yield f"{len(evaluated) - MAX_SEGMENTS} more have higher bounds."


def _speed(report: Mapping[str, Any], speed: Mapping[str, Any]) -> Iterator[str]:
    measures = {"p50_ms": "one row, median (ms)", "p95_ms": "one row, 95th percentile (ms)", "size_mb": "size (MB)"}
    limits = {"p95_ms": "max_latency_ms", "size_mb": "max_size_mb"}
    yield "## Speed"
    yield ""
    yield "| | champion | challenger | limit |"
    yield "|---|---|---|---|"
    for name, text in measures.items():
        values = [_plain(speed[who][name]) for who in ("champion", "challenger")]
        limit = speed["limits"].get(limits.get(name, ""))
        yield f"| {text} | {' | '.join(values)} | {'' if limit is None else f'{limit:g}'} |"
    allowed = speed["limits"].get("max_slowdown")
    slowdown = f"| {_plain(speed['slowdown'])} | {'' if allowed is None else f'{allowed:g}'} |"
    yield f"| median, as a multiple of the champion's | {slowdown}"


def _what_would_change(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what would lead to another verdict."""
    bound, gain, margin = (report.get(name) for name in ("lower_bound", "improvement", "margin"))
    if bound is not None and gain is not None and margin is not None:
        if report["verdict"] == "pass":
            yield f"It would have failed with a margin of {bound:+.4f} or more."
        elif gain <= margin:
            yield f"The challenger itself must be better: its improvement of {gain:+.4f} is not above {margin:g}."
        elif bound <= margin:
            times = math.ceil(10 * ((gain - bound) / (gain - margin)) ** 2) / 10
            yield (
                f"The lower bound must rise by more than {margin - bound:.4f}. An improvement of this size would be "
                f"shown by a holdout about {times:g} times as long, with as many earlier comparisons."
            )
    for segment in (report.get("segments") or {"found": ()})["found"][:MAX_SEGMENTS]:
        if segment["status"] in {"inferior", "not_shown"} and gain is not None and margin is not None and gain > margin:
            need = -report["segment_margin"] - segment["lower_bound"]
            name = f"{segment['column']} = {_safe(segment['value'])}"
            yield f"Within {name} the lower bound must rise by more than {need:.4f}."
    if report["verdict"] == "inconclusive":
        yield f"Nothing was decided: {_safe(report['reason'].removeprefix('inconclusive: '))}."


def _number(value: float | None, error: float | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4f}" + (f" ± {error:.4f}" if error is not None else "")


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.4f}"


def _plain(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def _safe(text: str) -> str:
    """Return text without characters that end a table cell or begin a link, a tag or code."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{char}" if char in "|[]<>`*" else char for char in flat)
