"""Which live predictions would have been another one with the challenger in production."""

from __future__ import annotations

from keel.reports import numbers
from keel.reports.comparison.words import Report, at_start, names, segment_name
from keel.reports.page import Block, Details, Fact, Paragraph, Section, Table

SHOWN = 8
"""Segments beside the text; the others are folded."""
TITLE = "Which predictions would change"


def fact(report: Report) -> Fact | None:
    """Return the share of recent predictions that would change; None where it is not known."""
    found = report.get("flips") or {}
    if not found.get("n"):
        return None
    changed = found["changed"] / found["n"]
    of = "predictions" if report.get("names") else "recent predictions"
    return Fact(numbers.share(changed), (f"of {of} would change", *_directions(found)))


def section(report: Report) -> Section | None:
    """Return the section about changed predictions; None for a comparison without them."""
    found = report.get("flips")
    if not found:
        return None
    if fault := found.get("fault"):
        text = f"Which predictions would change could not be computed: {fault}. The verdict does not rest on it."
        return Section(TITLE, (Paragraph(text),))
    if not found.get("n"):
        return Section(TITLE, (Paragraph("There are no recent predictions of production to score again."),))
    blocks: list[Block] = [Paragraph(_sentence(report, found))]
    if found.get("start"):
        blocks.append(Paragraph(_basis(report, found), quiet=True))
    segments = list((found.get("segments") or {}).get("found") or ())
    if segments:
        blocks.append(_table(segments[:SHOWN], found))
    if segments[SHOWN:]:
        more = numbers.count(len(segments) - SHOWN, "more segment")
        blocks.append(Details(more, (_table(segments[SHOWN:], found),)))
    if rest := (found.get("segments") or {}).get("not_listed"):
        blocks.append(Paragraph(f"{rest:,} more segments change less.", quiet=True))
    return Section(TITLE, tuple(blocks))


def _is_value(found: Report) -> bool:
    return "size" in found


def _directions(found: Report) -> tuple[str, str]:
    up, down = ("higher", "lower") if _is_value(found) else ("to positive", "to negative")
    return f"{found['up']:,} {up}", f"{found['down']:,} {down}"


def _sentence(report: Report, found: Report) -> str:
    old, new = names(report)
    n, changed = found["n"], found["changed"]
    all_of = "Of" if report.get("names") else "Of the last"
    text = f"{all_of} {numbers.count(n, 'prediction')}, {numbers.share(changed / n)} would be another"
    if _is_value(found):
        size = numbers.number(found["size"])
        text += (
            f" by more than {size}, which is the mean absolute error of {old}: {found['up']:,} higher and "
            f"{found['down']:,} lower."
        )
        change = found.get("change") or {}
        low, middle, high = (dict(zip(change["level"], change["value"], strict=True))[q] for q in (0.05, 0.5, 0.95))
        return (
            f"{text} The median change is {numbers.signed(middle)}, and 90% lie within {numbers.interval(low, high)}."
        )
    if not changed:
        return f"{text}: {new} decides all of them as {old} does."
    return f"{text}: {found['up']:,} become positive and {found['down']:,} negative."


def _basis(report: Report, found: Report) -> str:
    old, new = names(report)
    text = f"The predictions are of {numbers.span(found.get('start'), found.get('end'))}, each scored by {new}. "
    answered = found.get("answered_by_champion") or 0
    if answered >= found["n"] + (found.get("unusable") or 0):
        text += f"{at_start(old)} answered all of them, and its answers are taken from the log."
    elif answered:
        text += f"{at_start(old)} answered {answered:,}, which are taken from the log, and scored the rest now."
    else:
        text += f"{at_start(old)} answered none of them, and scored them now."
    if unusable := found.get("unusable"):
        text += f" {unusable:,} more could not be scored."
    return f"{text} This is information: the verdict does not rest on it."


def _table(segments: list[Report], found: Report) -> Table:
    up, down = ("Higher", "Lower") if _is_value(found) else ("To positive", "To negative")
    return Table(
        "Changed predictions by segment, the largest share first",
        ("Segment", "Changed", up, down, "Predictions"),
        tuple(
            (
                segment_name(each),
                numbers.share(each["changed"] / each["n"]),
                numbers.count(each["up"]),
                numbers.count(each["down"]),
                numbers.count(each["n"]),
            )
            for each in segments
        ),
        numeric=(1, 2, 3, 4),
        wide=True,
    )
