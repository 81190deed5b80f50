"""What a request is answered with, and what is written down of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.serving.journal import PredictionBlock


@dataclass(frozen=True)
class Answer:
    """The answer to one request.

    block: what must be in the spool before the answer is given. raw: what the versions returned, one entry per row, as
    MLflow's server would put it.
    """

    block: PredictionBlock
    raw: list[Any]

    def body(self) -> bytes:
        """Return the answer as JSON: MLflow's ``predictions``, and Keel's own key beside it."""
        raise NotImplementedError

    def headers(self) -> Mapping[str, str]:
        """Return ``X-Keel-Model``, ``X-Keel-Version``; of one row also ``X-Keel-Prediction-Id`` and ``X-Keel-Arm``."""
        raise NotImplementedError
