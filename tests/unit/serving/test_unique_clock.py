"""Times that are given once: within a process, and between all processes of a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from keel.serving.unique_clock import NAME, UniqueClock
from keel.workspace import PROJECT

TAKE = """
import sys
from pathlib import Path
from keel.serving.unique_clock import Ticks
ticks = Ticks(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*(ticks(3) for _ in range(20_000)))
"""


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("back", "follows"), [(0.0, False), (0.5, False), (2.0, True), (7_200.0, True)])
def test_times_follow_a_clock_that_is_set_back_and_are_otherwise_given_once(
    tmp_path, monkeypatch, back, follows, shared
):
    now = 1_800_000_000 * 10**9
    ticks = UniqueClock(tmp_path if shared else None)
    monkeypatch.setattr("time.time_ns", lambda: now)
    assert ticks(10) == now // 1000
    assert ticks(5) == now // 1000 + 10
    now -= int(back * 10**9)
    if shared:
        ticks = UniqueClock(tmp_path)  # as the next process does
    assert ticks(1) == (now // 1000 if follows else 1_800_000_000 * 10**6 + 15)


def test_processes_that_answer_at_once_give_no_time_twice(tmp_path):
    command = [sys.executable, "-c", TAKE, str(tmp_path)]
    workers = [
        subprocess.Popen(
            command, cwd=PROJECT / "include", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for _ in range(3)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
    firsts = sorted(int(first) for worker in workers for first in worker.communicate()[0].split())
    assert len(firsts) == 3 * 20_000
    assert all(later - first >= 3 for first, later in zip(firsts, firsts[1:], strict=False))


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x7f" * 8, b"abc"])
def test_whatever_the_file_holds_the_clock_counts(tmp_path, monkeypatch, content):
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000 * 10**9)
    (tmp_path / NAME).write_bytes(content)
    assert UniqueClock(tmp_path)(1) == 1_800_000_000 * 10**6
