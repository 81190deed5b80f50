"""Many requests, one call a version: whose rows go where, and back again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import ScoringFailed
from keel.serving.models.input_schema import Features
from keel.serving.prediction_log.records import PredictionBlock, packed
from keel.serving.scoring.answers import Answer
from keel.serving.scoring.routing import route

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from keel.serving.models.input_schema import Rows
    from keel.serving.models.loaded_version import Scored, ServedVersion
    from keel.serving.models.loader import Served
    from keel.serving.scoring.routing import Route


@dataclass(frozen=True)
class _Piece:
    """Rows of one request for one version: all of them, or those with these numbers; role: whose rows they are."""

    request: int
    role: str
    version: ServedVersion
    features: Features
    numbers: NDArray[np.intp] | None = None


def answer_all(
    asked: Sequence[tuple[Rows, Served]], *, trial_failed: Callable[[ScoringFailed], None]
) -> list[Answer | ScoringFailed]:
    """Return for each request its answer, or what stood in the way of it.

    A request whose rows the champion cannot score fails alone. A version on trial that fails is told to
    ``trial_failed``, and nobody misses it: a shadow is left out of the answer, and a challenger's rows are answered by
    the champion. They keep their arm: without the rows that a version cannot score, it would be judged on easier ones.
    A version on trial that needs a column that a request does not have is not asked, with the same result.
    """
    routes = [route(rows, served.plan) for rows, served in asked]
    scored = _scored(
        piece
        for request, ((rows, served), way) in enumerate(zip(asked, routes, strict=True))
        for piece in _pieces(request, rows, served, way)
    )
    instead: list[_Piece] = []
    for piece, outcome in scored:
        champion = asked[piece.request][1].production
        if piece.version is not champion and isinstance(outcome, ScoringFailed):
            trial_failed(outcome)
            if piece.role == "challenger":
                instead.append(replace(piece, version=champion))
    found: list[dict[str, tuple[_Piece, Scored | ScoringFailed]]] = [{} for _ in asked]
    for piece, outcome in [*scored, *_scored(instead)]:
        found[piece.request][piece.role] = (piece, outcome)
    return [
        _answer(rows, served, way, outcomes) for (rows, served), way, outcomes in zip(asked, routes, found, strict=True)
    ]


def _pieces(request: int, rows: Rows, served: Served, way: Route) -> list[_Piece]:
    everything, pieces, trial = rows.features, [], served.challenger
    if trial is not None and not everything.absent.isdisjoint(trial.needed):
        trial = None
    for role, version, numbers in (
        ("champion", served.production, way.champion),
        ("challenger", trial or served.production, way.challenger),
    ):
        if len(numbers) == len(rows):
            pieces.append(_Piece(request, role, version, everything))
        elif len(numbers):
            pieces.append(_Piece(request, role, version, everything.take(numbers), numbers))
    if way.shadow and trial is not None:
        pieces.append(_Piece(request, "shadow", trial, everything))
    return pieces


def _scored(pieces: Iterable[_Piece]) -> list[tuple[_Piece, Scored | ScoringFailed]]:
    """Score pieces, those of one version together."""
    by_version: defaultdict[int, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        by_version[id(piece.version)].append(piece)
    return [each for own in by_version.values() for each in zip(own, _score(own), strict=True)]


def _score(pieces: Sequence[_Piece]) -> list[Scored | ScoringFailed]:
    """Score pieces of one version, together; one by one if that fails, so that only those fail that are at fault."""
    version = pieces[0].version
    try:
        outputs, scores, predictions = version.score(Features.joined([piece.features for piece in pieces]))
    except ScoringFailed as error:
        return [error] if len(pieces) == 1 else [_score([piece])[0] for piece in pieces]
    if len(pieces) == 1:
        return [(outputs, scores, predictions)]
    ends = list(accumulate(piece.features.rows for piece in pieces))
    spans = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return [(outputs[span], scores[span], predictions[span]) for span in spans]


def _answer(
    rows: Rows,
    served: Served,
    way: Route,
    outcomes: dict[str, tuple[_Piece, Scored | ScoringFailed]],
) -> Answer | ScoringFailed:
    size = len(rows)
    raw: list[Any] = [None] * size
    versions = [served.production.number] * size
    scores, predictions = np.empty(size), np.empty(size)
    for role in ("champion", "challenger"):
        if role not in outcomes:
            continue
        piece, scored = outcomes[role]
        if isinstance(scored, ScoringFailed):
            return scored
        if piece.numbers is None:
            raw, scores, predictions = scored
            versions = [piece.version.number] * size
            continue
        scores[piece.numbers], predictions[piece.numbers] = scored[1:]
        for number, output in zip(piece.numbers.tolist(), scored[0], strict=True):
            raw[number], versions[number] = output, piece.version.number
    shadow: dict[str, Any] = {}
    if "shadow" in outcomes:
        shadow = _shadow(*outcomes["shadow"])
    names, numbers, texts = rows.features.given()
    block = PredictionBlock(
        served.model, rows.ids, rows.times, versions, _scores(served.production, scores), packed(predictions),
        names, packed(numbers.T), texts, rows.entities, way.experiment, way.arms,
        None if way.allocations is None else packed(way.allocations), **shadow,
    )  # fmt: skip
    return Answer(block, raw)


def _shadow(piece: _Piece, scored: Scored | ScoringFailed) -> dict[str, Any]:
    if isinstance(scored, ScoringFailed):
        return {}
    return {
        "shadow_version": piece.version.number, "shadow_scores": _scores(piece.version, scored[1]),
        "shadow_predictions": packed(scored[2]),
    }  # fmt: skip


def _scores(version: ServedVersion, scores: NDArray[np.float64]) -> bytes | None:
    """Return scores as they are written down; a regression has none."""
    return packed(scores) if version.is_binary else None
