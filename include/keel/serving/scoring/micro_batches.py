"""Micro-batches: score the rows of many requests with one call per version, and split the results again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import ScoringFailed
from keel.monitoring.live.audit_sample import is_audited
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
    """Rows of one request for one version: all rows, or those at these positions. role: in which role it scores."""

    request: int
    role: str
    version: ServedVersion
    features: Features
    numbers: NDArray[np.intp] | None = None


def answer_all(
    requests: Sequence[tuple[Rows, Served]], *, on_challenger_failure: Callable[[ScoringFailed], None]
) -> list[Answer | ScoringFailed]:
    """Return the answer to each request, or the error.

    A request whose rows the champion cannot score fails alone. A failed challenger or shadow is reported to
    ``on_challenger_failure`` and costs no answer: a shadow's scores are omitted, and the champion answers a
    challenger's rows. These rows keep their arm, because the challenger would otherwise be evaluated on easier rows
    only. A challenger that needs a column which the request lacks is not called, with the same result.
    """
    routes = [route(rows, served.plan) for rows, served in requests]
    scored = _scored(
        piece
        for number, ((rows, served), routed) in enumerate(zip(requests, routes, strict=True))
        for piece in _pieces(number, rows, served, routed)
    )
    fallbacks: list[_Piece] = []
    for piece, outcome in scored:
        champion = requests[piece.request][1].production
        if piece.version is not champion and isinstance(outcome, ScoringFailed):
            on_challenger_failure(outcome)
            if piece.role == "challenger":
                fallbacks.append(replace(piece, version=champion))
    found: list[dict[str, tuple[_Piece, Scored | ScoringFailed]]] = [{} for _ in requests]
    for piece, outcome in [*scored, *_scored(fallbacks)]:
        found[piece.request][piece.role] = (piece, outcome)
    return [
        _answer(rows, served, routed, outcomes)
        for (rows, served), routed, outcomes in zip(requests, routes, found, strict=True)
    ]


def _pieces(request: int, rows: Rows, served: Served, routed: Route) -> list[_Piece]:
    features, pieces, challenger = rows.features, [], served.challenger
    if challenger is not None and not features.absent.isdisjoint(challenger.needed):
        challenger = None
    for role, version, numbers in (
        ("champion", served.production, routed.champion),
        ("challenger", challenger or served.production, routed.challenger),
    ):
        if len(numbers) == len(rows):
            pieces.append(_Piece(request, role, version, features))
        elif len(numbers):
            pieces.append(_Piece(request, role, version, features.take(numbers), numbers))
    if routed.shadow and challenger is not None:
        pieces.append(_Piece(request, "shadow", challenger, features))
    return pieces


def _scored(pieces: Iterable[_Piece]) -> list[tuple[_Piece, Scored | ScoringFailed]]:
    """Score pieces, with one call per version."""
    by_version: defaultdict[int, list[_Piece]] = defaultdict(list)
    for piece in pieces:
        by_version[id(piece.version)].append(piece)
    return [each for own in by_version.values() for each in zip(own, _score(own), strict=True)]


def _score(pieces: Sequence[_Piece]) -> list[Scored | ScoringFailed]:
    """Score pieces of one version together; if that fails, one by one, so that only the faulty ones fail."""
    version = pieces[0].version
    try:
        outputs, scores, predictions = version.score(Features.joined([piece.features for piece in pieces]))
    except ScoringFailed as error:
        return [error] if len(pieces) == 1 else [_score([piece])[0] for piece in pieces]
    if len(pieces) == 1:
        return [(outputs, scores, predictions)]
    ends = list(accumulate(piece.features.rows for piece in pieces))
    slices = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return [(outputs[part], scores[part], predictions[part]) for part in slices]


def _answer(
    rows: Rows,
    served: Served,
    routed: Route,
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
        served.model,
        rows.ids,
        rows.times,
        versions,
        _scores(served.production, scores),
        packed(predictions),
        names,
        packed(numbers.T),
        texts,
        rows.entities,
        routed.experiment,
        routed.arms,
        None if routed.allocations is None else packed(routed.allocations),
        **shadow,
    )
    share = served.inputs.audit_share
    return Answer(block, raw, None if share is None else is_audited(served.model, rows.ids, share).tolist())


def _shadow(piece: _Piece, scored: Scored | ScoringFailed) -> dict[str, Any]:
    if isinstance(scored, ScoringFailed):
        return {}
    return {
        "shadow_version": piece.version.number,
        "shadow_scores": _scores(piece.version, scored[1]),
        "shadow_predictions": packed(scored[2]),
    }


def _scores(version: ServedVersion, scores: NDArray[np.float64]) -> bytes | None:
    """Return scores as they are stored; a regression has none."""
    return packed(scores) if version.is_binary else None
