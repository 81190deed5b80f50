"""Write one report in a process of its own, twice: ``python report_contestants.py NAME FOLDER FILE``.

Prints one line of JSON: seconds of the first and of the second call, the
processor's seconds of the second, bytes of the file, peak memory. The tool is
imported and both tables are in memory before the first call. Imports are the contestant's own, so that the module runs
in either environment.
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

Write = Callable[[pd.DataFrame, pd.DataFrame, str, dict[str, str]], None]


def prepare_keel() -> Write:
    import keel

    detect = keel.detect  # loads what it needs, as an import of Evidently does

    def write(reference: pd.DataFrame, current: pd.DataFrame, file: str, roles: dict[str, str]) -> None:
        del roles
        detect(reference, current).to_html(file)

    return write


def prepare_performance() -> Write:
    from keel import detect

    def write(reference: pd.DataFrame, current: pd.DataFrame, file: str, roles: dict[str, str]) -> None:
        detect(reference, current, **roles).to_html(file)

    return write


def prepare_evidently() -> Write:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    def write(reference: pd.DataFrame, current: pd.DataFrame, file: str, roles: dict[str, str]) -> None:
        del roles  # the preset compares distributions only
        Report([DataDriftPreset()]).run(current, reference).save_html(file)

    return write


def main() -> None:
    contestant, folder, file = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    warnings.filterwarnings("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not be read as an answer
    write: Write = globals()[f"prepare_{contestant}"]()
    reference, current = (pd.read_parquet(folder / f"{name}.parquet") for name in ("reference", "current"))
    roles = json.loads((folder / "roles.json").read_text())
    seconds, processor = [], []
    for _ in range(2):
        started, used = time.perf_counter(), time.process_time()
        write(reference, current, file, roles)
        seconds.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    result = {
        "first": seconds[0],
        "second": seconds[1],
        "processor": processor[1],
        "bytes": Path(file).stat().st_size,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(result), file=answers, flush=True)


if __name__ == "__main__":
    main()
