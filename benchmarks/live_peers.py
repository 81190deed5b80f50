"""Run river's detectors over streams, in the peers' environment: ``python live_peers.py FOLDER NAME …``.

The folder has ``stream.npy``, shape (rows, columns). Prints JSON: for each detector, the number of rows up to the first
alarm in each column, or -1. A detector stops there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from river import drift

MAKE: dict[str, Callable[[int], Any]] = {
    "ADWIN": lambda _: drift.ADWIN(),
    "KSWIN": lambda seed: drift.KSWIN(seed=seed),
    "PageHinkley": lambda _: drift.PageHinkley(),
}


def first_alarm(detector: Any, values: list[float]) -> int:
    """Return the number of values up to the first alarm, or -1."""
    for row, value in enumerate(values, 1):
        detector.update(value)
        if detector.drift_detected:
            return row
    return -1


def main() -> None:
    folder, *names = sys.argv[1:]
    columns = np.load(Path(folder) / "stream.npy").T
    found = {name: [first_alarm(MAKE[name](i), c.tolist()) for i, c in enumerate(columns)] for name in names}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
