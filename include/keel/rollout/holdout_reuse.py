"""How often the rows of a holdout were looked at: what the level of the next look depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from keel.evaluation.holdout.comparison import Verdict
from keel.monitoring.records import report_id
from keel.window import times_of

if TYPE_CHECKING:
    from keel.workspace import Workspace


def identity_of(
    ws: Workspace, model: str, asked: Mapping[str, Any], window: Mapping[str, Any], *, rows: int | None = None
) -> str:
    """Return the id of a comparison's record: the same versions, decision and window give the same.

    rows: labelled rows of the window, where rows are compared. One that has failed keeps its record when it is made
    again on other rows: that is another look, with a record of its own.
    """
    # A comparison that somebody asked for is another than the one that followed the training, also on the same rows.
    about = f"{asked['champion']}v{asked['challenger']}/{asked['decision_id']}"
    identity = report_id("comparison", {"model": model, "version": about, "window": window})
    kept = None if rows is None else ws.store.reports.get(identity)
    if kept is None or not _failed_on_others(kept["body"], rows):
        return identity
    return report_id("comparison", {"model": model, "version": f"{about}/{rows}", "window": window})


def prior_comparisons(
    ws: Workspace, model: str, identity: str, asked: Mapping[str, Any], holdout: Mapping[str, Any], *, rows: int
) -> int:
    """Return how many earlier comparisons were made on rows of this holdout.

    The stated level is that of one look: who looks often at the same rows promotes an equal challenger more often.
    A comparison that is made again counts what was before it the first time. The same two versions on the same span, as
    when an offered version is compared once more before people are asked, are one look, though labels came in between:
    the first look would have promoted whatever the second does, or could promote nothing. But a look that said no is
    another as soon as there are other rows: who was refused has a second chance.
    """
    span = times_of(holdout)
    mine = ws.store.reports.get(identity)
    pair = asked["champion"], asked["challenger"]
    seen = set()
    for past in ws.store.reports.list(model, "comparison", limit=None, overlapping=span):
        body, its_span = past["body"], (past["window_start"], past["window_end"])
        its_pair = body["champion"], body["challenger"]
        earlier = past["report_id"] != identity and (mine is None or past["created_at"] < mine["created_at"])
        own = (its_pair, its_span) == (pair, span) and not _failed_on_others(body, rows)
        if body["n"] and earlier and not own:
            seen.add((its_pair, its_span, _rows(body) if body["verdict"] == Verdict.FAIL else None))
    return len(seen)


def _failed_on_others(body: Mapping[str, Any], rows: int | None) -> bool:
    """Whether a comparison said no to other rows: labels and predictions are only added, so their number tells."""
    return bool(body["verdict"] == Verdict.FAIL and body["n"] and _rows(body) != rows)


def _rows(body: Mapping[str, Any]) -> int:
    return int(body["n"]) + int((body.get("n_left_out") or {}).get("total", 0))
