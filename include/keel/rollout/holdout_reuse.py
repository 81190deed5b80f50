"""Count how often the rows of a holdout were used before, which makes the next comparison on them stricter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import AliasChoices, Field

from keel.monitoring.records import ComparisonRecord, PromotionRequest, Record, Span, TrainedVersion
from keel.monitoring.storage import read_comparison, report_id

if TYPE_CHECKING:
    from keel.workspace import Workspace

Request = TrainedVersion | PromotionRequest
"""What asks for a comparison: a training, or a person."""


class Use(Record):
    """What counts of a comparison that used a holdout before; there can be hundreds."""

    champion: int | None
    challenger: int
    verdict: Literal["pass", "fail", "inconclusive"]
    n: int
    n_excluded: dict[str, int] | None = Field(None, validation_alias=AliasChoices("n_excluded", "n_left_out"))

    @property
    def n_rows(self) -> int:
        """Labelled rows of the holdout, those included that could not be used."""
        return self.n + (self.n_excluded or {}).get("total", 0)


def comparison_id(ws: Workspace, request: Request, holdout: Span, *, rows: int | None = None) -> str:
    """Return the id of a comparison: the same versions, decision and holdout give the same id.

    rows: labelled rows of the holdout; None where no rows are compared. A failed comparison keeps its record when it
    is repeated on other rows: the repetition is another comparison, with its own id.
    """
    # A comparison that a person requests differs from the one after the training, also on the same rows.
    versions = f"{request.champion}v{request.challenger}/{request.decision_id}"
    identity = report_id("comparison", request.model, versions, holdout)
    stored = None if rows is None else read_comparison(ws, request.model, identity)
    if stored is None or not _failed_on_other_rows(stored, rows):
        return identity
    return report_id("comparison", request.model, f"{versions}/{rows}", holdout)


def prior_comparisons(ws: Workspace, identity: str, request: Request, holdout: Span, *, rows: int) -> int:
    """Return how many comparisons used rows of this holdout before.

    The policy's level holds for one comparison. An equal challenger is promoted more often where the same rows are
    compared repeatedly. A repeated comparison counts what was before its first run. Two comparisons of the same
    versions on the same span count as one, even if labels arrived in between, as when a staged version is compared
    again before people approve it: the first could have promoted the version, or could promote nothing. But a
    comparison that failed counts separately as soon as there are other rows, as the challenger gets a second chance.
    """
    span = holdout.start, holdout.end
    mine = ws.store.reports.get(identity)
    versions = request.champion, request.challenger
    seen = set()
    for past in ws.store.reports.list(request.model, "comparison", limit=None, overlapping=span):
        earlier = past["report_id"] != identity and (mine is None or past["created_at"] < mine["created_at"])
        if not earlier:
            continue
        body, its_span = Use.from_dict(past["body"]), (past["window_start"], past["window_end"])
        its_versions = body.champion, body.challenger
        same = (its_versions, its_span) == (versions, span) and not _failed_on_other_rows(body, rows)
        if body.n and not same:
            seen.add((its_versions, its_span, body.n_rows if body.verdict == "fail" else None))
    return len(seen)


def _failed_on_other_rows(comparison: ComparisonRecord | Use, rows: int | None) -> bool:
    """Whether a comparison failed on other rows. Predictions and labels are only added, so their number tells."""
    return bool(comparison.verdict == "fail" and comparison.n and comparison.n_rows != rows)
