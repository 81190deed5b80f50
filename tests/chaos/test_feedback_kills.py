"""Labels of a file whose submission is killed repeatedly are stored exactly once in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from keel.sources import PART_ROWS
from keel.store.database.tables import label_conflicts, labels
from tests.support.paths import PROJECT

if TYPE_CHECKING:
    from keel.store import Store

PARTS = 5
ROWS = PARTS * PART_ROWS
TIMEOUT = 120


def test_killed_submission_is_completed_by_submitting_again(store: Store, store_url: str, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("id,label\n" + "".join(f"p{i},{i % 2}\n" for i in range(ROWS)))
    environment = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "include"),
        "KEEL_STORE_URL": store_url,
        "KEEL_HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "keel.cli.main", "feedback", "flight_delay", str(file)]

    def start(*options: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *options], env=environment, **pipes)  # type: ignore[call-overload]

    killed = []
    for parts in range(1, PARTS - 1):
        child = start()
        progress = (line for line in child.stderr if "labels stored" in line)  # type: ignore[union-attr]
        for _ in range(parts):
            next(progress)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        with store.connect() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(labels)).scalar_one()
        killed.append((child.returncode, int(count)))
    assert [code for code, _ in killed] == [-signal.SIGKILL] * len(killed)
    counts = [count for _, count in killed]
    assert counts == sorted(counts)
    assert all(PART_ROWS * parts <= count < ROWS for parts, count in enumerate(counts, 1))

    child = start("--json")
    out, errors = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 0, errors
    done = json.loads(out)
    assert done["duplicates"] == counts[-1] > 0
    assert done["stored"] == ROWS - counts[-1] > 0
    with store.connect() as connection:
        assert connection.execute(sa.select(sa.func.count(), sa.func.sum(labels.c.label))).one() == (ROWS, ROWS / 2)
        assert connection.execute(sa.select(sa.func.count()).select_from(label_conflicts)).scalar_one() == 0
