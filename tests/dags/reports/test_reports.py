"""The report of a check: in the tasks' logs, in MLflow, and in the message."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from keel import loop
from keel.alerts.records import Message
from keel.errors import SchemaError
from keel.monitoring import storage
from keel.registry.report_files import MONTH_TAG
from keel.reports import publication
from keel.reports.page import Page
from keel.window import Window
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import html_of, pictures_of, text_of
from tests.support.airflow.tide import DAY, LAUNCH, decision_of, happen, live, tide_config

pytestmark = pytest.mark.usefixtures("airflow_db")

END = LAUNCH + DAY
WINDOW = {"start": LAUNCH.isoformat(), "end": END.isoformat()}
NOW = datetime(2024, 3, 7, tzinfo=UTC)
CONFIG = tide_config()


@pytest.fixture
def logged(monkeypatch):
    """What operators write into their tasks' logs, by task."""
    from airflow.sdk import BaseOperator

    lines: dict[str, list[str]] = {}

    class Log(logging.LoggerAdapter):
        def process(self, message, named):
            return message, named

    def log(operator):
        handler = logging.Handler()
        handler.emit = lambda record: lines.setdefault(operator.task_id, []).append(record.getMessage())
        logger = logging.Logger(operator.task_id, logging.INFO)
        logger.addHandler(handler)
        return logger

    monkeypatch.setattr(BaseOperator, "log", property(log))
    return lines


@pytest.fixture
def drifted(tide):
    live(tide, happen(LAUNCH, END, wind=1.5), LAUNCH, END)
    return tide


@pytest.fixture
def decided(drifted):
    """A decision on the drifted day, made by the steps of the core."""
    counted = loop.count_window(drifted, CONFIG, loop.resolve_window(CONFIG, end=END, now=END))
    for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
        step(drifted, CONFIG, counted)
    return loop.decide(drifted, CONFIG, counted, run_id="run-1")


def test_check_writes_its_report_into_the_logs_into_mlflow_and_into_the_mail(drifted, logged):
    done = run("tide.drift_check", **WINDOW)

    assert done.state == "success"
    parts = {task: "\n".join(logged[task]) for task in ("check_data_quality", "check_data_drift", "check_performance")}
    assert "## Data quality" in parts["check_data_quality"]
    assert "wind" in parts["check_data_drift"]
    assert "## Does it hurt?" in parts["check_performance"]
    assert "## Labels" in parts["check_performance"]
    whole = "\n".join(logged["compose_message"])
    for title in ("## Does it hurt?", "## Data quality", "## What was decided"):
        assert title in whole
    file = Path(done.xcoms["compose_message/return_value"]["report"])
    assert file.parent.name == "2024-03-06T00_check_24h_version_1"
    assert file.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert file.with_name("report.md").read_text(encoding="utf-8") in whole
    [mail] = mails(drifted)
    assert str(file) in text_of(mail)
    assert str(file) in html_of(mail)
    [picture] = pictures_of(mail).items()
    assert picture[0] in html_of(mail)
    assert picture[1].startswith(b"\x89PNG")


def test_check_that_runs_again_replaces_its_report(drifted, decided):
    first = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    content = Path(first.address).read_bytes()

    again = loop.publish_report(drifted, CONFIG, decided, now=NOW + timedelta(hours=1))

    assert again.address == first.address
    assert Path(again.address).read_bytes() == content
    assert publication.published(drifted, decided.decision_id).published_at == NOW + timedelta(hours=1)


def message_of(workspace, config, decision, report):
    """Return what people are told of a decision."""
    posted = loop.notify(workspace, config, decision, report=report, now=NOW)
    return Message.from_dict(workspace.store.outbox.message(posted.message_id))


def test_report_that_cannot_be_published_is_named_in_the_message_and_stops_nothing(drifted, decided):
    drifted.registry.client  # noqa: B018  # MLflow's tables exist before its folder is lost
    artifacts = drifted.home / "mlartifacts"
    artifacts.rename(drifted.home / "lost")
    artifacts.write_text("a file where the folder was")

    report = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    message = message_of(drifted, CONFIG, decided, report)

    assert report.address is None
    assert "# " in report.markdown
    assert message.links["Report"].startswith("could not be published: MLflow at ")


def test_report_that_cannot_be_made_is_named_in_the_message_without_its_secrets(drifted, decided, monkeypatch):
    from keel.reports import check

    def fail(*_, **__):
        raise ValueError("postgresql://keel:s3cret@host/keel")

    monkeypatch.setattr(check, "collect", fail)

    report = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    message = message_of(drifted, CONFIG, decided, report)

    assert message.links["Report"] == "could not be made: ValueError; the task's log says more"


def test_picture_that_cannot_be_described_is_left_out_of_a_published_report_and_its_message(
    drifted, decided, monkeypatch
):
    def fail(_):
        raise ValueError("no such chart")

    monkeypatch.setattr("keel.reports.charts.plain.to_plain", fail)

    report = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    message = message_of(drifted, CONFIG, decided, report)

    assert message.picture is None
    assert message.links["Report"] == report.address


def test_story_of_the_demo_names_the_file_of_a_report(drifted, decided):
    from keel.cli.standalone.demo_report import chapters

    report = loop.publish_report(drifted, CONFIG, decided, now=NOW)

    assert chapters(drifted, CONFIG)[-1]["report"] == report.address


def test_publish_off_renders_the_report_and_writes_nothing_into_mlflow(drifted, decided):
    config = CONFIG.with_overrides({"reports.publish": False})

    report = loop.publish_report(drifted, config, decided, now=NOW)
    message = message_of(drifted, config, decided, report)

    assert (report.address, report.problem) == (None, None)
    assert "## Does it hurt?" in report.markdown
    assert "Report" not in message.links
    assert list((drifted.home / "mlartifacts").rglob("report.html")) == []


def test_decision_without_a_check_has_no_report(tide):
    window = loop.resolve_window(CONFIG, end=END, now=END)
    request = loop.request_retrain(tide, CONFIG, window=window, reason="why not", run_id="run-1")

    assert loop.publish_report(tide, CONFIG, request, now=NOW) is None


def test_expire_deletes_old_reports_and_keeps_their_records(drifted, decided):
    report = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    kept = publication.expire(drifted, CONFIG, now=NOW + timedelta(days=90))
    assert kept.deleted == 0
    assert Path(report.address).exists()

    done = publication.expire(drifted, CONFIG, now=NOW + timedelta(days=90, seconds=1))

    assert done.deleted == 1
    assert "Deleted 1 published report of tide" in done.sentence
    assert not Path(report.address).parent.exists()
    assert publication.published(drifted, decided.decision_id) is None
    assert storage.read_decision(drifted, "tide", decided.decision_id, type(decided)) == decided
    assert publication.expire(drifted, CONFIG, now=NOW + timedelta(days=365)).deleted == 0


def test_expire_goes_on_after_a_report_that_cannot_be_deleted_and_names_it(drifted, decided):
    window = Window(LAUNCH - 40 * DAY, LAUNCH - 39 * DAY)
    page = Page(title="t", eyebrow="e", headline="h")
    older = publication.publish(drifted, CONFIG, page, about="older", name="check", window=window, now=NOW)
    newer = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    run_id = publication.published(drifted, decided.decision_id).run_id
    assert run_id != older.run_id
    drifted.registry.client.delete_tag(run_id, MONTH_TAG)

    with pytest.raises(SchemaError, match=r"deleted 1 published reports of tide, .*check_24h.* tag keel\.reports"):
        publication.expire(drifted, CONFIG, now=NOW + timedelta(days=91))

    assert publication.published(drifted, "older") is None
    assert not Path(older.address).exists()
    assert Path(newer.address).exists()


def test_expire_without_a_retention_deletes_nothing(drifted, decided):
    report = loop.publish_report(drifted, CONFIG, decided, now=NOW)
    config = CONFIG.with_overrides({"reports.retention": None})

    done = publication.expire(drifted, config, now=NOW + timedelta(days=3650))

    assert (done.deleted, done.before) == (0, None)
    assert "for ever" in done.sentence
    assert Path(report.address).exists()


def test_maintenance_deletes_reports_and_says_how_many(drifted, decided):
    loop.publish_report(drifted, CONFIG, decided, now=NOW)

    done = run("keel.maintenance")

    assert done.xcoms["expire_reports/return_value"]["deleted"] == 1


def test_failure_after_the_report_was_published_links_it(drifted, monkeypatch):
    def lost(*_, **__):
        raise ValueError("no row was written")

    monkeypatch.setattr(loop, "record", lost)

    done = run("tide.drift_check", **WINDOW)

    assert done.states["record"] == "failed"
    [mail] = [each for each in mails(drifted) if "drift_check failed" in each["Subject"]]
    assert done.xcoms["compose_message/return_value"]["report"] in text_of(mail)
    assert decision_of(drifted)["action"] == "raise_alert"


def mails(workspace):
    files = sorted(workspace.outbox.glob("*.eml"))
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]
