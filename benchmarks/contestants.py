"""One contestant in a process of its own: reads the data, then answers one line of JSON per line it is sent.

``python contestants.py keel|scipy|nannyml|evidently FOLDER`` with ``reference.parquet`` and ``window.parquet`` in the
folder. It only imports what its contestant needs, so that it runs in either environment.
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

import pandas as pd

Run = Callable[[], object]


def prepare_keel(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[Run, float]:
    import pyarrow as pa

    from keel import DriftConfig, ReferenceGrid, detect

    kinds = {n: "categorical" if n.startswith("c") else "numeric" for n in reference.columns}
    started = time.perf_counter()
    grid = ReferenceGrid.fit(reference, kinds)
    fitted = time.perf_counter() - started
    table, config = pa.Table.from_pandas(window, preserve_index=False), DriftConfig()
    return lambda: detect(grid, grid.count(table), config).to_dict(), fitted


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
