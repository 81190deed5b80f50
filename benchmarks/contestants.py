"""Run one contestant of a benchmark in a process of its own: one check, and one line of JSON, per line of input.

``python contestants.py NAME FOLDER`` with ``reference.parquet`` and ``window.parquet`` in the folder; a name is what
follows ``prepare_`` below. Imports are those of the contestant only, so that the module runs in either environment.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from keel import ReferenceGrid

Run = Callable[[], object]


def prepare_keel(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    import pyarrow as pa

    return _keel_check(reference, pa.Table.from_pandas(window, preserve_index=False))


def prepare_batches(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    import pyarrow as pa

    table = pa.Table.from_pandas(window, preserve_index=False)
    return _keel_check(reference, table.to_batches(max_chunksize=1_000))


def _keel_check(reference: pd.DataFrame, window: object) -> tuple[Run, float]:
    from keel import DriftConfig, detect

    grid, fitted = _fit_keel(reference)
    config = DriftConfig()
    return lambda: detect(grid, grid.count(window), config).to_dict(), fitted


def _fit_keel(reference: pd.DataFrame) -> tuple[ReferenceGrid, float]:
    from keel import ReferenceGrid

    kinds = {n: "categorical" if n.startswith("c") else "numeric" for n in reference.columns}
    started = time.perf_counter()
    grid = ReferenceGrid.fit(reference, kinds)
    return grid, time.perf_counter() - started


def prepare_numbers(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    import pyarrow as pa

    numeric = [name for name in reference.columns if name.startswith("x")]
    grid, fitted = _fit_keel(reference[numeric])
    table = pa.Table.from_pandas(window[numeric], preserve_index=False)
    return lambda: grid.count(table), fitted


def prepare_sort(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    import numpy as np

    from keel.grid.threads import in_threads

    columns = [window[name].to_numpy() for name in window.columns if name.startswith("x")]

    def sort(column: np.ndarray) -> None:
        np.sort(column)  # the result is dropped: forty of them are new memory, which takes longer than sorting

    return lambda: in_threads(sort, columns, len(window)), 0.0


def prepare_scipy(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    from scipy.stats import chi2_contingency, ks_2samp

    def run() -> object:
        results = {}
        for name in reference.columns:
            a, b = reference[name], window[name]
            if name.startswith("c"):
                shares = pd.concat([a.value_counts(), b.value_counts()], axis=1).fillna(0)
                results[name] = chi2_contingency(shares.T, correction=False).pvalue
            else:
                results[name] = ks_2samp(a.to_numpy(), b.to_numpy()).pvalue
        return results

    return run, 0.0


def prepare_nannyml(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    import nannyml

    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(reference.columns),
        treat_as_categorical=[n for n in reference.columns if n.startswith("c")],
        continuous_methods=["kolmogorov_smirnov"],
        categorical_methods=["chi2"],
        chunk_number=1,
    )
    started = time.perf_counter()
    calculator.fit(reference)
    fitted = time.perf_counter() - started
    return lambda: calculator.calculate(window), fitted


def prepare_evidently(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(
        numerical_columns=[n for n in reference.columns if not n.startswith("c")],
        categorical_columns=[n for n in reference.columns if n.startswith("c")],
    )
    before = Dataset.from_pandas(reference, data_definition=definition)
    after = Dataset.from_pandas(window, data_definition=definition)
    return lambda: Report([DataDriftPreset()]).run(after, before).dict(), 0.0


def peak_memory() -> int:
    """Bytes: the most this process has held in memory, libraries and data included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    contestant, folder = sys.argv[1], Path(sys.argv[2])
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be read as an answer
    tables = [pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "window")]
    run, fitted = globals()[f"prepare_{contestant}"](*tables)
    print(json.dumps({"fit": fitted}), file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "peak": peak_memory()}), file=answers, flush=True)


if __name__ == "__main__":
    main()
