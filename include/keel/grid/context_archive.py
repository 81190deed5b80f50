"""Read and write the reference of the live monitors as one ``.npz`` archive without pickles."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import SchemaError
from keel.grid.archive import dump_arrays
from keel.grid.bins import BINS, WIDTH, BinnedColumn
from keel.grid.column_grid import ColumnGrid
from keel.grid.context_values import Contexts
from keel.grid.counts import TAILS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from keel.grid.counts import Integers

FORMAT = 1
"""Increased when the archive's arrays change their meaning. Older readers then reject the archive by its format."""

KIND = "contexts"

_Parts = tuple[str, Contexts, tuple[BinnedColumn, ...], "Integers", tuple[str, ...]]


def dump(
    grid_id: str, contexts: Contexts, columns: tuple[BinnedColumn, ...], counts: Integers, remarks: tuple[str, ...]
) -> bytes:
    """Return the archive's bytes, which depend on the content alone."""
    grids = [grid for grid in contexts.grids if grid is not None]
    header = {
        "kind": KIND,
        "format": FORMAT,
        "grid_id": grid_id,
        "contexts": [
            {"name": name, "grid": None if grid is None else _grid_entry(grid)}
            for name, grid in zip(contexts.names, contexts.grids, strict=True)
        ],
        "columns": [
            {"name": column.grid.name, "kind": column.grid.kind, "vocabulary": column.grid.vocabulary}
            for column in columns
        ],
        "remarks": remarks,
    }
    none = np.zeros(0)
    return dump_arrays(
        {
            "header": np.frombuffer(json.dumps(header, sort_keys=True).encode(), dtype=np.uint8),
            "knots": np.concatenate([none, *(grid.knots for grid in grids)]).astype("<f8"),
            "known": contexts.known.astype("<i8"),
            "edges": np.concatenate([none, *(column.edges.ravel() for column in columns)]).astype("<f8"),
            "bins": np.concatenate([none.astype(np.int8), *(column.bins.ravel() for column in columns)]),
            "counts": counts.astype("<i8"),
        }
    )


def parse(data: bytes) -> _Parts:
    """Read what `dump` wrote; SchemaError for a damaged archive, another kind of file, or a newer format."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays["header"].tobytes())
        if head.get("kind") != KIND:
            raise ValueError("it is another archive")
        if head.get("format") != FORMAT:
            raise SchemaError(f"the file has format {head.get('format')}; this version of Keel reads {FORMAT}")
        return _parts(head, arrays)
    except (OSError, ValueError, KeyError, TypeError, IndexError, zipfile.BadZipFile, EOFError) as error:
        raise SchemaError(f"not a reference by context, or a damaged one: {error}") from error


def _grid_entry(grid: ColumnGrid) -> dict[str, Any]:
    return {"kind": grid.kind, "knots": len(grid.knots), "vocabulary": grid.vocabulary, "bits": grid.bits}


def _parts(head: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> _Parts:
    grids: list[ColumnGrid | None] = []
    at = 0
    for entry in head["contexts"]:
        grid = entry["grid"]
        if grid is None:
            grids.append(None)
            continue
        knots = arrays["knots"][at : at + grid["knots"]].astype(np.float64)
        at += grid["knots"]
        grids.append(ColumnGrid(entry["name"], grid["kind"], knots, tuple(grid["vocabulary"]), bits=grid["bits"]))
    names = tuple(entry["name"] for entry in head["contexts"])
    known = arrays["known"].astype(np.int64)
    if known.ndim != 2 or known.shape[1] != len(names):
        raise ValueError(f"{known.shape} contexts of {len(names)} names")
    contexts = Contexts(names, tuple(grids), known)
    n = len(contexts.labels)
    edges = arrays["edges"].astype(np.float64).reshape(-1, n, BINS - 1)
    columns, numeric, at = [], 0, 0
    for entry in head["columns"]:
        grid = ColumnGrid(entry["name"], entry["kind"], np.zeros(0), tuple(entry["vocabulary"]))
        if grid.kind == "numeric":
            columns.append(BinnedColumn(grid, edges[numeric], np.zeros((n, 0), dtype=np.int8)))
            numeric += 1
        else:
            size = grid.size + len(TAILS)
            bins = arrays["bins"][at : at + n * size].astype(np.int8).reshape(n, size)
            columns.append(BinnedColumn(grid, np.zeros((n, 0)), bins))
            at += n * size
    counts = arrays["counts"].astype(np.int64)
    if counts.shape != (len(columns), n, WIDTH):
        raise ValueError(f"counts of shape {counts.shape} where {len(columns)} columns have {n} contexts")
    return head["grid_id"], contexts, tuple(columns), counts, tuple(head["remarks"])
