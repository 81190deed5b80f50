"""The audit sample: a random share of a model's predictions, whose labels people find out early.

Keel draws the sample, by a hash of the prediction's id. So everybody who knows the id and the share finds the same
rows, and nobody chooses them. The hash has a salt of its own: the sample does not depend on the arm of an experiment,
which follows from another hash, on the score or on anything else about a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from keel.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from keel.config import ModelConfig
    from keel.workspace import Workspace


def is_audited(model: str, ids: Iterable[str], share: float) -> NDArray[np.bool_]:
    """Return whether each prediction is in the sample, shape (n,). A smaller share's sample is part of a larger one's.

    >>> is_audited("flight_delay", ["a", "b", "c", "d"], 0.5).tolist()
    [False, True, False, False]
    """
    salted = hashlib.sha256(f"keel audit sample\n{model}\n".encode())
    first = []
    for identity in ids:
        digest = salted.copy()
        digest.update(identity.encode())
        first.append(int.from_bytes(digest.digest()[:8]) >> 11)
    chosen: NDArray[np.bool_] = np.array(first, dtype=np.int64) * 2.0**-53 < share
    return chosen
