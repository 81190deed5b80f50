"""Records on their way through a spool to the store, for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from keel.serving.prediction_log.records import LabelBlock, PredictionBlock, encode, packed
from tests.support.toy import toy_config

if TYPE_CHECKING:
    import pyarrow as pa

    from keel.serving.prediction_log.spool import Spool
    from keel.workspace import Workspace

CONFIG = toy_config()
NOON, END = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
MICROS = int(NOON.timestamp() * 1e6)
PAUSE = 0.02


def block(*ids: str, model: str = "toy", version: int = 3, **changes: Any) -> PredictionBlock:
    """Return answered rows of the toy model."""
    n = len(ids)
    plain = PredictionBlock(
        model,
        list(ids),
        [MICROS + i for i in range(n)],
        [version] * n,
        packed([0.25] * n),
        packed([0.0] * n),
        ["x", "z"],
        packed([[1.5, None]] * n),
        {"colour": ["red"] * n},
    )
    return msgspec.structs.replace(plain, **changes)


def put(spool: Spool, *blocks: PredictionBlock | LabelBlock | bytes) -> None:
    """Append records, and wait until they are durable."""
    spool.append([b if isinstance(b, bytes) else encode(b) for b in blocks]).result(10)


def stored(ws: Workspace, model: str = "toy") -> pa.Table:
    """Return a model's stored rows."""
    [table] = ws.store.predictions(model, CONFIG.features).read(NOON, END)
    return table


def stored_ids(ws: Workspace) -> list[str]:
    """Return the sorted ids of the toy model's stored rows."""
    return sorted(stored(ws)["id"].to_pylist())
