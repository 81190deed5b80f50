"""A new version on probation: is it shown to be worse than the one before it, and does it hold what it promised?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.measures.betting import clopper_pearson_upper, empirical_bernstein_upper, log_capital
from keel.measures.blocks import Times, block_ends, block_means, lost_pairs
from keel.measures.losses import Estimate, Floats, Scored, brier_loss, finite_rows, row_loss
from keel.measures.plain import finite_or_none

if TYPE_CHECKING:
    from keel.config import PromotionConfig


class ProbationVerdict(StrEnum):
    """What is known of a version on probation."""

    HARM = "harm"
    BROKEN_PROMISE = "broken_promise"
    SURVIVED = "survived"
    WATCHING = "watching"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class ProbationReport:
    """A look at a version on probation."""

    verdict: ProbationVerdict
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {"verdict": str(self.verdict), "sentence": self.sentence}


def watch_version(
    current: Scored,
    previous: Scored | None,
    *,
    times: Times,
    metric: str,
    reference: Estimate | None,
    policy: PromotionConfig,
    max_increase: float,
    over: bool,
    not_compared: str = "",
) -> ProbationReport:
    """Judge the version on probation by its labelled live rows, in the order in which their labels came.

    current, previous: the new version and the one before it on the same rows; previous is None without one, or when
    it cannot be scored, and ``not_compared`` then says why. times: of the predictions, shape (n,), datetime64.
    reference: the mean row loss that the version promised (`promised_loss`). over: whether the probation has ended.
    """
    raise NotImplementedError


def promised_loss(metric: str, reference: Mapping[str, Any]) -> Estimate | None:
    """Return the mean row loss on the version's holdout, from what it is compared with; None where it is not known."""
    raise NotImplementedError
