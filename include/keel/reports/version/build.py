"""Put the page of a version together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from keel.ledger.wording import with_full_stop
from keel.reports import numbers
from keel.reports.comparison.words import headline as verdict_of
from keel.reports.comparison.words import tag as verdict_tag
from keel.reports.comparison.words import with_current_names
from keel.reports.metric_words import better, metric_name
from keel.reports.page import Block, Command, Details, Fact, Items, Page, Paragraph, Section, Table, Tag, Tone
from keel.reports.version import evidence
from keel.stats.metrics.losses import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from keel.reports.version.data import VersionData

TAGS = {
    "production": Tag("in production", Tone.GOOD),
    "staging": Tag("waits for approval", Tone.WARN),
    "previous": Tag("previous"),
    "quarantined": Tag("quarantined", Tone.BAD),
    "rejected": Tag("rejected", Tone.WARN),
}
HEADLINES = {
    "production": "Version {} is in production.",
    "staging": "Version {} is staged, and waits for approval.",
    "previous": "Version {} was in production before; a rollback goes to it.",
    "candidate": "Version {} is a candidate, and was never in production.",
    "rejected": "Version {} was rejected.",
    "quarantined": "Version {} is quarantined: it did harm in production.",
    "archived": "Version {} is archived.",
    "deleted": "Version {} was deleted; its ledger rows stay.",
}


def page(data: VersionData) -> Page:
    """Return the page of a version. The same records give the same page."""
    status = str(data.described["status"])
    unknown = "Version {} is in MLflow, and Keel never loads it: the ledger does not register it."
    return Page(
        title=f"{data.config.model} version {data.version}",
        eyebrow=" · ".join(_about(data)),
        headline=HEADLINES.get(status, unknown).format(data.version),
        tag=TAGS.get(status, Tag(status if status != "None" else "not registered", Tone.NEUTRAL)),
        lead=_lead(data),
        facts=tuple(_facts(data)),
        sections=tuple(
            Section(title, blocks)
            for title, blocks in (
                ("What it is for", tuple(_purpose(data))),
                ("How good it is", tuple(evidence.metrics(data))),
                ("Live performance", tuple(evidence.live(data))),
                ("What it does not know", tuple(evidence.limits(data))),
                ("The data it was trained on", tuple(evidence.training(data))),
                ("Comparisons", tuple(_comparisons(data))),
                ("Where it comes from", tuple(_lineage(data))),
                ("What became of it", tuple(_ledger(data))),
            )
            if blocks
        ),
        footer=("Statuses, reasons and checksums are those of the ledger. Times are in UTC.",),
    )


def _about(data: VersionData) -> Iterator[str]:
    yield data.config.model
    yield f"version {data.version}"
    if training := data.reference.get("training"):
        yield numbers.count(training.get("rows"), "training row")
    trained = data.described["trained_on"]
    if trained.get("start") and trained.get("end"):
        yield f"trained on {numbers.span(trained['start'], trained['end'])}"


def _lead(data: VersionData) -> str:
    if data.fault:
        return f"Its files cannot be read: {data.fault}"
    reason = str(data.described.get("reason") or "")
    since = data.described.get("since")
    at = data.production_since.isoformat(timespec="minutes") if data.production_since else since and since[:16]
    return with_full_stop(f"Since {numbers.time(at)}: {reason}") if at and reason else ""


def _facts(data: VersionData) -> Iterator[Fact]:
    metric = data.config.performance.metric
    own = (data.reference.get("metrics") or {}).get(metric) or {}
    if own.get("value") is not None:
        holdout = data.reference.get("holdout") or {}
        rows = numbers.count(holdout.get("rows"), "row")
        lines = [f"{metric_name(metric)} on its holdout", f"{better(metric)}; {rows}"]
        value = numbers.number(own["value"])
        if own.get("standard_error") is not None:
            value += f" ± {numbers.number(own['standard_error'], 2)}"
            lines.append("± is the standard error if rows are independent")
        yield Fact(value, tuple(lines))
    if data.series:
        yield _live(data)
    if data.drift is not None:
        drifted = len(data.drift.names("drift"))
        features = sum(column.role == "feature" for column in data.drift.features.values())
        yield Fact(
            f"{drifted} of {features}", ("features have drifted", f"by the check of {numbers.time(data.drift_until)}")
        )
    yield _next(data)


def _live(data: VersionData) -> Fact:
    """Return the performance on the newest live labels, beside the baseline and the limit."""
    metric, last = data.config.performance.metric, data.series[-1]
    baseline, limit = evidence.expected(data)
    value, *beside = numbers.alike(last.value, baseline, limit)
    lines = [f"{metric_name(metric)}, {numbers.span(last.start, last.end)}", numbers.count(last.n, "live label")]
    if baseline is not None:
        lines.append(f"holdout {beside[0]}" + (f", limit {beside[1]}" if limit is not None else ""))
    return Fact(value, tuple(lines), Tone.WARN if _is_beyond_limit(data) else Tone.NEUTRAL)


def _is_beyond_limit(data: VersionData) -> bool:
    """Whether the newest live performance is worse than the limit, significantly or not."""
    limit = evidence.expected(data)[1]
    value = data.series[-1].value if data.series else None
    if value is None or limit is None:
        return False
    return value < limit if data.config.performance.metric in HIGHER_IS_BETTER else value > limit


def _next(data: VersionData) -> Fact:
    match data.described["status"]:
        case "production" if _is_beyond_limit(data):
            lines = ("the newest live performance is beyond its limit", f"keel report {data.config.model}")
            return Fact("See the last check", lines, Tone.WARN)
        case "production":
            return Fact("Nothing to do", ("Keel monitors it",))
        case "staging":
            return Fact("Approve or decline", ("in Airflow, under Required Actions",), Tone.WARN)
        case "candidate":
            return Fact("May be promoted", ("after a comparison",))
        case "rejected" | "quarantined":
            return Fact("Not promoted", ("until a person reinstates it",))
        case "previous" | "archived":
            return Fact("Nothing to do", ("a rollback can name it",))
    return Fact("Nothing to do", ("it is not used",))


def _purpose(data: VersionData) -> Iterator[Block]:
    config = data.config
    kind = "a probability" if config.target.kind == "binary" else "a number"
    yield Paragraph(
        f"{config.description.rstrip('.') + '. ' if config.description else ''}It predicts "
        f"{config.target.name}, {kind}, from {numbers.count(len(config.features), 'feature')}; a label is known "
        f"{numbers.duration(config.target.label_delay)} after its prediction."
    )
    threshold = data.reference.get("threshold")
    if threshold is not None:
        yield Paragraph(f"A score from {numbers.number(threshold)} on is a decision for the positive class.")


def _comparisons(data: VersionData) -> Iterator[Block]:
    if not data.comparisons:
        return
    rows = []
    for stored in map(with_current_names, data.comparisons):
        end = (stored.get("holdout") or {}).get("end")
        rows.append((numbers.time(end), verdict_of(stored), verdict_tag(stored), str(stored.get("report_id") or "")))
    yield Table("Comparisons that it took part in", ("Until", "Result", "", "Report"), tuple(rows), wide=True)
    pairs = [(each.get("champion"), each.get("challenger")) for each in data.comparisons]
    old, new = next((pair for pair in pairs if pair[0] is not None and pair[0] != pair[1]), (None, None))
    if old is not None:
        yield Command(f"keel versions compare {data.config.model} {old} {new}")


def _lineage(data: VersionData) -> Iterator[Block]:
    tags, pin = data.tags, data.pin
    reason = str(data.described.get("why") or "")
    registered = next((line for line in data.ledger if line.action == "register"), None)
    rows = (
        ("Trained because", reason),
        ("In production then", f"version {tags['keel.parent']}" if tags.get("keel.parent") else "no version"),
        ("Decision", tags.get("keel.decision_id", "")),
        ("Registered", numbers.time(registered.at.isoformat(timespec="minutes")) if registered else ""),
        ("MLflow run", pin.run_id if pin else ""),
        ("Code", tags.get("keel.code", "")),
        ("Pipeline, SHA-256", tags.get("keel.pipeline_sha256", "")),
        ("Rows, SHA-256", tags.get("keel.data_sha256", "")),
    )
    shown = tuple((name, value) for name, value in rows if value)
    if len(shown) > 1:
        yield Table("Provenance", ("", ""), shown)
    if pin is not None:
        files = tuple(sorted(pin.files.items()))
        yield Details(
            f"Checksums of its {numbers.count(len(files), 'file')}: Keel loads no other files as it",
            (Table("SHA-256 by file", ("File", "SHA-256"), files),),
        )


def _ledger(data: VersionData) -> Iterator[Block]:
    if not data.ledger:
        yield Paragraph("The ledger has no row about it.")
        return
    at = [numbers.time(line.at.isoformat(timespec="minutes")) for line in data.ledger]
    rows = tuple(
        (f"{line.seq}, {time}", f"{line.sentence.partition('. ')[0].rstrip('.')}.")
        for line, time in zip(data.ledger, at, strict=True)
    )
    yield Table("Ledger rows about it, the oldest first", ("Row and time", "What happened"), rows)
    yield Details("The rows in full", (Items(tuple(f"{line.seq}: {line.sentence}" for line in data.ledger)),))
