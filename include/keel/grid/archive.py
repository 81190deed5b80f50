"""Read and write a grid as one ``.npz`` archive without pickles. Equal grids give equal bytes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import SchemaError
from keel.grid.column_grid import ColumnGrid
from keel.grid.counts import Counts, Floats, Layout
from keel.grid.rounding import EXACT_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMATS = (1, 2)
"""Increased when the archive's arrays change their meaning. Older readers then reject the archive by its format.

1: every value is counted exactly. 2: the header has the `bits` of columns that are not, see `keel.grid.rounding`. A
grid is written in the first format that holds it, so that a grid of format 1 keeps its bytes and its id.
"""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_COUNTED = ("cells", "tails", "overshoot", "extremes")


@dataclass(frozen=True, eq=False)
class Content:
    """The fields of a `keel.grid.reference.ReferenceGrid`, which documents them."""

    columns: tuple[ColumnGrid, ...]
    n_features: int
    n_reference: int
    reference: Counts
    holdout: Counts | None = None
    mean_loss: Floats | None = None
    overall_loss: float | None = None

    def identified(self) -> Content:
        """Return the same content, with its hash as the grid id of its counts."""
        grid_id = content_id(self)
        holdout = None if self.holdout is None else replace(self.holdout, grid_id=grid_id)
        return replace(self, reference=replace(self.reference, grid_id=grid_id), holdout=holdout)


FIELDS = tuple(field.name for field in fields(Content))


def content_id(content: Content) -> str:
    """Return the SHA-256, in hexadecimal, of everything that can change a count or a measure."""
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(content).items()):
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def dump(content: Content) -> bytes:
    """Return the archive's bytes, which depend on the content alone."""
    return dump_arrays(_arrays(content))


def dump_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as one ``.npz`` archive without pickles. Equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in sorted(arrays.items()):
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            info = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)  # the time of writing would make equal grids differ
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return buffer.getvalue()


def parse(data: bytes) -> Content:
    """Read what `dump` wrote.

    Raises
    ------
    SchemaError
        For a damaged archive, another kind of file, or a newer format.

    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
            head = json.loads(arrays["header"].tobytes())
            if head.get("format") not in FORMATS:
                readable = " and ".join(map(str, FORMATS))
                raise SchemaError(f"the grid has format {head.get('format')}; this version of Keel reads {readable}")
            return _content(head, arrays)
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, EOFError) as error:
        raise SchemaError(f"not a reference grid, or a damaged one: {error}") from error


def _arrays(content: Content) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(_header(content), sort_keys=True).encode(), dtype=np.uint8),
        "knots": np.concatenate([c.knots for c in content.columns]).astype("<f8"),
    }
    for prefix, counts in (("reference", content.reference), ("holdout", content.holdout)):
        if counts is not None:
            for part in _COUNTED:
                array = getattr(counts, part)
                arrays[f"{prefix}_{part}"] = array.astype(array.dtype.newbyteorder("<"))
    if content.mean_loss is not None:
        arrays["mean_loss"] = content.mean_loss.astype("<f8")
    return arrays


def _header(content: Content) -> dict[str, Any]:
    return {
        "format": 1 if all(c.bits == EXACT_BITS for c in content.columns) else 2,
        "n_features": content.n_features,
        "n_reference": content.n_reference,
        "n_rows": content.reference.n,
        "n_holdout": None if content.holdout is None else content.holdout.n,
        "overall_loss": content.overall_loss,
        "columns": [
            {
                "name": c.name,
                "kind": c.kind,
                "knots": len(c.knots),
                "vocabulary": c.vocabulary,
                "scale": c.scale,
                "novel": [c.novel, c.novel_variance, c.cut],
                **({} if c.bits == EXACT_BITS else {"bits": c.bits}),
            }
            for c in content.columns
        ],
    }


def _content(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Content:
    columns, at = [], 0
    for entry in head["columns"]:
        knots = arrays["knots"][at : at + entry["knots"]].astype(np.float64)
        at += entry["knots"]
        novel, variance, cut = entry["novel"]
        columns.append(
            ColumnGrid(
                name=entry["name"],
                kind=entry["kind"],
                knots=knots,
                vocabulary=tuple(entry["vocabulary"]),
                scale=entry["scale"],
                novel=novel,
                novel_variance=variance,
                cut=cut,
                bits=entry.get("bits", EXACT_BITS),
            )
        )
    layout = Layout(tuple(c.name for c in columns), tuple(c.kind for c in columns), tuple(c.size for c in columns))
    loss = arrays.get("mean_loss")
    return Content(
        columns=tuple(columns),
        n_features=head["n_features"],
        n_reference=head["n_reference"],
        reference=_counts(layout, head["n_rows"], arrays, "reference"),
        holdout=None if head["n_holdout"] is None else _counts(layout, head["n_holdout"], arrays, "holdout"),
        mean_loss=None if loss is None else loss.astype(np.float64),
        overall_loss=head["overall_loss"],
    )


def _counts(layout: Layout, n: int, arrays: Mapping[str, NDArray[Any]], prefix: str) -> Counts:
    cells, tails, overshoot, extremes = (arrays[f"{prefix}_{part}"] for part in _COUNTED)
    if cells.shape != (layout.offsets[-1],):
        raise ValueError(f"{prefix}: {cells.shape} cells where the columns have {layout.offsets[-1]}")
    return Counts(
        "",
        layout,
        n,
        cells.astype(np.int64),
        tails.astype(np.int64),
        overshoot.astype(np.int64),
        extremes.astype(np.float64),
    )
