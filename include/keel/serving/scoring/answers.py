"""The answer to a request: its JSON body, its headers, and the block that is stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from keel.store.database.times import from_micros

if TYPE_CHECKING:
    from keel.serving.prediction_log.records import PredictionBlock

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Answer:
    """The answer to one request.

    block: must be in the spool before the answer is sent. raw: the versions' outputs, one per row, as MLflow's server
    gives them. audited: whether each row is in the audit sample; None for a model without one.
    """

    block: PredictionBlock
    raw: list[Any]
    audited: list[bool] | None = None

    def body(self) -> bytes:
        """Return the answer as JSON: MLflow's ``predictions``, and the key ``keel``."""
        block = self.block
        mixed = len(set(block.versions)) > 1
        keel = {
            "model": block.model,
            "version": None if mixed else block.versions[0],
            "ids": block.ids,
            "times": _iso(block.times),
            **({"versions": block.versions} if mixed else {}),
            "arms": block.arms,
            "experiment": block.experiment,
            **({} if self.audited is None else {"audited": self.audited}),
        }
        document = {"predictions": self.raw, "keel": keel}
        # like MLflow: NaN, which is not valid JSON, rather than null
        return _encode(document) if _all_finite(self.raw) else json.dumps(document).encode()

    def headers(self) -> Mapping[str, str]:
        """Return ``X-Keel-Model``, ``X-Keel-Version``; for one row also ``X-Keel-Prediction-Id`` and ``X-Keel-Arm``.

        An id with characters that a header cannot hold is only in the body.
        """
        block = self.block
        versions = ",".join(map(str, sorted(set(block.versions))))
        headers = {"X-Keel-Model": block.model, "X-Keel-Version": versions}
        if len(block.ids) == 1:
            identity = block.ids[0]
            if identity.isascii() and identity.isprintable():
                headers["X-Keel-Prediction-Id"] = identity
            if block.arms is not None and block.arms[0] is not None:
                headers["X-Keel-Arm"] = block.arms[0]
        return headers


def _iso(times: Iterable[int]) -> list[str]:
    """Return times as ISO 8601 texts in UTC; each second is formatted once."""
    known: dict[int, str] = {}
    texts = []
    for time in times:
        second, micros = divmod(time, 1_000_000)
        if second not in known:
            known[second] = from_micros(second * 1_000_000).strftime("%Y-%m-%dT%H:%M:%S")
        texts.append(f"{known[second]}.{micros:06d}+00:00")
    return texts


def _all_finite(values: Iterable[Any]) -> bool:
    for value in values:
        if isinstance(value, float):
            if not math.isfinite(value):
                return False
        elif isinstance(value, list):
            if not _all_finite(value):
                return False
        elif isinstance(value, dict) and not _all_finite(value.values()):
            return False
    return True
