"""What one look at a large experiment costs: processor time and memory of reading its rows and judging them.

    python -m benchmarks.experiment_size --rows 1000000 --url sqlite:////tmp/size.db

fills the store, unless the model has rows there, with a week of an A/B test, each row of its own entity and nine of ten
with a label, and looks once in a process of its own. Ids are as the scoring service makes them; ``--random-ids`` begin
with no time, and SQLite finds their labels slower. On PostgreSQL the server's processor time is not counted.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from keel.evaluation.experiment.analysis import evaluate
from keel.evaluation.experiment.outcomes import outputs_for
from keel.evaluation.experiment.plan import Plan, Stage, assign_many
from keel.stats.metrics.losses import Estimate
from keel.store import Store

START, SPAN, DELAY = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=7), timedelta(days=1)
EXPERIMENT = "experiment-0f3c5d6a1b2e4f78"
MODEL, FEATURES = "m", {f"f{i}": "numeric" for i in range(10)}
BATCH = 100_000
US = pa.timestamp("us", tz="UTC")


def plan() -> Plan:
    """Return an even split, of which nothing will be shown: both versions are as good."""
    return Plan(
        experiment_id=EXPERIMENT, model=MODEL, champion=1, challenger=2, mode="ab", stages=(Stage(0.5),), salt="s",
        metric="brier", margin=0.0, alpha=0.05, max_outcomes=10**9, started_at=START,
        baseline=Estimate(0.2, 0.002, 5_000), label_delay=DELAY,
    )  # fmt: skip


def fill(url: str, rows: int, *, random_ids: bool) -> None:
    """Store the rows of a week and their labels."""
    rng = np.random.default_rng(0)
    with Store.open(url, timeout=60) as store:
        log = store.predictions(MODEL, FEATURES)
        if log.times() is not None:
            return
        for first in range(0, rows, BATCH):
            at = np.arange(first, min(rows, first + BATCH))
            moment = np.datetime64(START.replace(tzinfo=None), "us") + at * (np.timedelta64(SPAN) / rows)
            entities = [f"customer-{i:012d}" for i in at]
            challenger, probability = assign_many(plan(), entities, moment)
            begins = [""] * len(at) if random_ids else [f"{ms:012x}" for ms in moment.astype("datetime64[ms]").tolist()]
            ids = [f"{begin}{rng.bytes(16).hex()}"[:32] for begin in begins]
            score = rng.random(len(at))
            table = {
                "id": ids, "time": pa.array(moment.astype(np.int64)).cast(US), "version": np.where(challenger, 2, 1),
                "score": score, "prediction": np.round(score), "allocation": probability, "entity": entities,
                "arm": np.where(challenger, "challenger", "champion"), "experiment": [EXPERIMENT] * len(at),
                **{name: rng.random(len(at)) for name in FEATURES},
            }  # fmt: skip
            log.append(pa.table(table))
            labelled = rng.permutation(len(at))[: round(0.9 * len(at))]
            late = moment + np.timedelta64(DELAY) + (rng.exponential(3600e6, len(at)) - 3600e6).astype(np.int64)
            labels = {"id": ids, "label": (rng.random(len(at)) < score) * 1.0, "observed_at": late.astype(np.int64)}
            labels["observed_at"] = pa.array(labels["observed_at"]).cast(US)
            log.add_labels(pa.table(labels).take(labelled))


def look(url: str) -> str:
    """Look at all of it once; return what that took."""
    made, end = plan(), START + SPAN + 2 * DELAY
    with Store.open(url, timeout=60) as store:
        log = store.predictions(MODEL, FEATURES)
        began = time.process_time()
        rows = log.experiment_rows(made.experiment_id, START, end, outputs_for(made))
        read = time.process_time()
        found = evaluate(made, *rows, now=end)
    judged = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"{rows[0].num_rows:,} rows, {found.n:,} outcomes: {read - began:.1f} s of processor to read, "
        f"{judged - read:.1f} s to judge, at most {peak:,.0f} MB"
    )


def main() -> None:
    """Fill the store here, and look in a child, whose memory is that of the look alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--url", required=True)
    parser.add_argument("--random-ids", action="store_true")
    parser.add_argument("--look", action="store_true", help="fill nothing")
    given = parser.parse_args()
    if given.look:
        print(look(given.url))
        return
    fill(given.url, given.rows, random_ids=given.random_ids)
    subprocess.run([sys.executable, "-m", "benchmarks.experiment_size", "--url", given.url, "--look"], check=True)


if __name__ == "__main__":
    main()
