"""The audit sample: a random share of a model's predictions, whose labels people find out early.

Keel draws the sample, by a hash of the prediction's id. So everybody who knows the id and the share finds the same
rows, and nobody chooses them. The hash has a salt of its own: the sample does not depend on the arm of an experiment,
which follows from another hash, on the score or on anything else about a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from keel.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.config import ModelConfig
    from keel.workspace import Workspace

PART = timedelta(days=1)
"""Predictions are read a day at a time, so that memory holds the sample and one day."""


def is_audited(model: str, ids: Iterable[str], share: float) -> NDArray[np.bool_]:
    """Return whether each prediction is in the sample, shape (n,). A smaller share's sample is part of a larger one's.

    >>> is_audited("flight_delay", ["a", "b", "c", "d"], 0.5).tolist()
    [False, True, False, True]
    """
    salted = hashlib.sha256(f"keel audit sample\n{model}\n".encode())
    first = []
    for identity in ids:
        digest = salted.copy()
        digest.update(identity.encode())
        first.append(int.from_bytes(digest.digest()[:8]) >> 11)
    chosen: NDArray[np.bool_] = np.array(first, dtype=np.int64) * 2.0**-53 < share
    return chosen


def audited(ws: Workspace, config: ModelConfig, *, since: datetime, until: datetime) -> pa.Table:
    """Return the audited predictions with since ≤ time < until that have no label yet, of all versions, by time.

    Columns ``id, time, version, entity, label``; the label is null. Filled in, the table is what `keel feedback` reads.

    Raises
    ------
    ConfigError
        The model has no ``labels.audit_share``.

    """
    import pyarrow as pa

    share = config.labels.audit_share
    if share is None:
        raise ConfigError(
            f"{config.model}: no predictions are audited. Set labels.audit_share in its model.yaml to the share whose "
            "labels you want to find out early, for example 0.1"
        )
    log = ws.predictions(config)
    parts = [log.row_labels(since, since)]
    while since < until:
        end = min(since + PART, until)
        rows = log.row_labels(since, end)
        rows = rows.filter(rows["label"].is_null())
        parts.append(rows.filter(pa.array(is_audited(config.model, rows["id"].to_pylist(), share))))
        since = end
    return pa.concat_tables(parts)
