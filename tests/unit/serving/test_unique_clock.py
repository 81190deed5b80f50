"""The unique clock: each microsecond is returned once, in a process and across the processes of a machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from keel.serving.unique_clock import NAME, UniqueClock
from tests.support.paths import PROJECT

TAKE_TIMES = """
import sys
from pathlib import Path
from keel.serving.unique_clock import UniqueClock
clock = UniqueClock(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(*(clock(3) for _ in range(20_000)))
"""
SECONDS = 1_800_000_000


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("back", "follows"), [(0.0, False), (0.5, False), (2.0, True), (7_200.0, True)])
def test_unique_clock_follows_a_clock_set_back_and_otherwise_repeats_no_time(
    tmp_path, monkeypatch, back, follows, shared
):
    now = SECONDS * 10**9
    clock = UniqueClock(tmp_path if shared else None)
    monkeypatch.setattr("time.time_ns", lambda: now)
    assert clock(10) == now // 1000
    assert clock(5) == now // 1000 + 10
    now -= int(back * 10**9)
    if shared:
        clock = UniqueClock(tmp_path)  # as in the next process
    assert clock(1) == (now // 1000 if follows else SECONDS * 10**6 + 15)


def test_unique_clock_in_several_processes_repeats_no_time(tmp_path):
    command = [sys.executable, "-c", TAKE_TIMES, str(tmp_path)]
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
def test_unique_clock_ignores_a_damaged_file(tmp_path, monkeypatch, content):
    monkeypatch.setattr("time.time_ns", lambda: SECONDS * 10**9)
    (tmp_path / NAME).write_bytes(content)
    assert UniqueClock(tmp_path)(1) == SECONDS * 10**6
