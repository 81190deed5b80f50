"""Metrics of checks and alerts, and the Prometheus rules on them."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from keel.monitoring.check_times import CheckTimes
from keel.serving.metrics import Metrics
from tests.support.paths import PROJECT

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = PROJECT / "prometheus" / "keel.rules.yaml"
PROMTOOL = shutil.which("promtool")


def series(metrics: Metrics, name: str) -> list[str]:
    """The series of a metric as text, sorted."""
    return sorted(line for line in metrics.text().decode().splitlines() if line.startswith(name + "{"))


def test_checks_have_their_last_and_their_due_time_and_none_where_there_is_none() -> None:
    metrics = Metrics()
    metrics.alerts.show_checks("toy", CheckTimes(AT, AT + timedelta(hours=6)))
    metrics.alerts.show_checks("new", CheckTimes(None, AT))
    metrics.alerts.show_checks("by_hand", CheckTimes(AT, None))
    last, due = (series(metrics, f"keel_check_{name}_timestamp_seconds") for name in ("last", "due"))
    assert [line.split()[0].split('"')[1] for line in last] == ["by_hand", "toy"]
    assert [line.split()[0].split('"')[1] for line in due] == ["new", "toy"]
    assert float(due[1].split()[-1]) == (AT + timedelta(hours=6)).timestamp()
    metrics.alerts.show_checks("toy", CheckTimes(AT, None))
    assert len(series(metrics, "keel_check_due_timestamp_seconds")) == 1, "its schedule was removed"


def test_open_alerts_have_every_severity_so_that_0_differs_from_nothing_known() -> None:
    metrics = Metrics()
    assert series(metrics, "keel_alerts_open") == []
    metrics.alerts.show_open(["toy"], {("toy", "error"): 2, ("", "critical"): 1})
    shown = series(metrics, "keel_alerts_open")
    assert [line for line in shown if 'model="toy"' in line] == [
        'keel_alerts_open{model="toy",severity="critical"} 0.0',
        'keel_alerts_open{model="toy",severity="error"} 2.0',
        'keel_alerts_open{model="toy",severity="info"} 0.0',
        'keel_alerts_open{model="toy",severity="warning"} 0.0',
    ]
    assert 'keel_alerts_open{model="",severity="critical"} 1.0' in shown
    metrics.alerts.show_open(["toy", ""], {})
    assert {line.split()[-1] for line in series(metrics, "keel_alerts_open")} == {"0.0"}
    assert len(series(metrics, "keel_alerts_open")) == 8


def test_undelivered_messages_are_shown_for_every_channel() -> None:
    metrics = Metrics()
    metrics.alerts.show_undelivered({"email": 2})
    assert series(metrics, "keel_alerts_undelivered") == [
        f'keel_alerts_undelivered{{channel="{channel}"}} {number}'
        for channel, number in (("apprise", 0.0), ("email", 2.0), ("pagerduty", 0.0), ("slack", 0.0), ("teams", 0.0))
    ]


def test_broken_channels_are_shown_beside_those_that_work() -> None:
    metrics = Metrics()
    metrics.alerts.show_broken({"teams": 2, "email": 1})
    metrics.alerts.show_broken({"teams": 2})
    shown = dict(line.rsplit(" ", 1) for line in series(metrics, "keel_alerts_channel_broken"))
    assert shown['keel_alerts_channel_broken{channel="teams"}'] == "2.0"
    assert {number for name, number in shown.items() if "teams" not in name} == {"0.0"}


def test_rules_name_metrics_that_exist() -> None:
    published = set(re.findall(r"^# TYPE (\w+)", Metrics().text().decode(), re.MULTILINE))
    rules = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"keel_\w+", rule["expr"])}
    assert named
    assert named <= published, named - published


def test_rules_of_the_documentation_are_those_of_the_file() -> None:
    of_file = {rule["alert"]: rule for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
    shown = [
        rule
        for page in ("live.md", "alerts.md")
        for block in re.findall(r"^```yaml\n(- alert: .*?)^```$", (PROJECT / "docs" / page).read_text(), re.M | re.S)
        for rule in yaml.safe_load(block)
    ]
    assert {rule["alert"] for rule in shown} >= {"KeelLiveAlarmUnjudged", "KeelLiveStandsStill", "KeelCheckOverdue"}
    for rule in shown:
        assert rule.items() <= of_file[rule["alert"]].items()


@pytest.mark.skipif(PROMTOOL is None, reason="needs tool promtool (Debian: prometheus)")
def test_rules_fire_when_they_should_and_not_before() -> None:
    cases = PROJECT / "tests" / "data" / "prometheus" / "keel.rules.test.yaml"
    for arguments in (("check", "rules", str(RULES)), ("test", "rules", str(cases))):
        done = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
    tested = set(re.findall(r"alertname: (\w+)", cases.read_text()))
    assert tested == set(re.findall(r"- alert: (\w+)", RULES.read_text()))
