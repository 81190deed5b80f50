"""Metrics of the live monitors: the nearest to their bound, a bounded number of series, and none that is stale."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from keel.monitoring.records import AlarmStatus, LiveAlarm, LiveStatus, MonitorStatus
from keel.serving.live_metrics import MONITORS
from keel.serving.metrics import Metrics

AT = datetime(2026, 3, 1, tzinfo=UTC)


def alarm(kind):
    values = dict(alarm_id=kind, model="toy", version=1, kind=kind, subject="x", opened_at=AT, since=AT, sentence="")
    return AlarmStatus(alarm=LiveAlarm(**values))


def status(evidence, *, model="toy", **more):
    """Monitors of shifts by column, with what more there is."""
    monitors = tuple(
        MonitorStatus(kind="shift", subject=name, evidence=value, bound=6.0) for name, value in evidence.items()
    )
    values = {"waiting": 3, "last_block_at": AT, "state": "reading", **more}
    return LiveStatus(model=model, sentence="", monitors=monitors, **values)


def show(metrics, evidence, **more):
    metrics.live.show(status(evidence, **more))


def series(metrics, name):
    """The series of a metric as text, sorted."""
    return sorted(line for line in metrics.text().decode().splitlines() if line.startswith(name + "{"))


def test_show_gives_evidence_bound_and_what_waits():
    metrics = Metrics()
    show(metrics, {"x": 2.5, "z": 7.0}, alarms=(alarm("shift"),))
    assert series(metrics, "keel_live_evidence") == [
        'keel_live_evidence{kind="shift",model="toy",monitor="x"} 2.5',
        'keel_live_evidence{kind="shift",model="toy",monitor="z"} 7.0',
    ]
    assert series(metrics, "keel_live_bound") == [
        f'keel_live_bound{{kind="shift",model="toy",monitor="{name}"}} 6.0' for name in "xz"
    ]
    assert series(metrics, "keel_live_open_alarms") == [
        f'keel_live_open_alarms{{kind="{kind}",model="toy"}} {number}'
        for kind, number in (("audit", 0.0), ("fault", 0.0), ("harm", 0.0), ("shift", 1.0))
    ]
    assert series(metrics, "keel_live_waiting_rows") == ['keel_live_waiting_rows{model="toy"} 3.0']
    [last] = series(metrics, "keel_live_last_block_timestamp_seconds")
    assert float(last.split()[-1]) == AT.timestamp()


def test_show_has_series_of_the_nearest_to_their_bound_only_and_the_number_of_all():
    metrics = Metrics()
    show(metrics, {f"column {i:04}": i / 1_000 for i in range(2_000)})
    shown = series(metrics, "keel_live_evidence")
    assert len(shown) == MONITORS
    assert 'monitor="column 1999"' in shown[-1]
    assert series(metrics, "keel_live_monitors") == ['keel_live_monitors{model="toy"} 2000.0']


def test_show_removes_monitors_that_are_no_longer_among_the_nearest():
    metrics = Metrics()
    for first in range(0, 500, 50):
        show(metrics, {f"column {first + i}": 1.0 for i in range(50)})
        assert len(series(metrics, "keel_live_evidence")) == len(series(metrics, "keel_live_bound")) == MONITORS
    metrics.live.hide("toy")
    assert b"keel_live_" not in b"\n".join(line for line in metrics.text().splitlines() if not line.startswith(b"#"))


def test_show_writes_no_evidence_as_zero_and_no_block_as_no_time():
    metrics = Metrics()
    show(metrics, {"x": None, "z": -0.4}, last_block_at=None)
    assert {line.split()[-1] for line in series(metrics, "keel_live_evidence")} == {"0.0"}
    assert series(metrics, "keel_live_last_block_timestamp_seconds") == []


def test_show_of_one_model_leaves_another_as_it_is():
    metrics = Metrics()
    show(metrics, {"x": 2.5})
    show(metrics, {"loss": 1.0}, model="other")
    metrics.live.hide("toy")
    assert series(metrics, "keel_live_evidence") == [
        'keel_live_evidence{kind="shift",model="other",monitor="loss"} 1.0'
    ]


RULES = Path(__file__).parents[3] / "docs" / "live.md"


def test_rules_of_the_documentation_have_series_though_nothing_was_ever_read():
    metrics = Metrics()
    show(metrics, {}, last_block_at=None, waiting=5_000, state="stalled")
    named = re.findall(r"expr: (.*)", RULES.read_text())
    assert len(named) == 2
    for name in re.findall(r"keel_\w+", " ".join(named)):
        assert series(metrics, name), name
    assert series(metrics, "keel_live_stalled") == ['keel_live_stalled{model="toy"} 1.0']
    show(metrics, {}, last_block_at=None, waiting=5_000)
    assert series(metrics, "keel_live_stalled") == ['keel_live_stalled{model="toy"} 0.0']
