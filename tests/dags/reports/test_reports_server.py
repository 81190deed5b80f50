"""The report of a check with real servers: MLflow hands out its page, and a mail server receives its picture."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from keel.reports import publication
from keel.workspace import Workspace
from tests.support.airflow.dag_run import run
from tests.support.airflow.mails import html_of, pictures_of, text_of
from tests.support.airflow.tide import DAY, LAUNCH, bootstrap, happen, live, tide_config

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("airflow_db")]

END = LAUNCH + DAY


@pytest.mark.slow
def test_report_is_on_the_server_linked_by_the_mail_and_gone_after_its_retention(
    new_keel_home,
    mlflow_url,
    mailbox,
    monkeypatch,
    tmp_path_factory,
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_url)
    with Workspace.open(home=new_keel_home) as workspace:
        bootstrap(workspace)
        live(workspace, happen(LAUNCH, END, wind=1.5), LAUNCH, END)

        done = run("tide.drift_check", start=LAUNCH.isoformat(), end=END.isoformat())

        assert done.state == "success"
        [(_, mail)] = mailbox
        line = done.xcoms["compose_message/return_value"]["report"]
        assert line in text_of(mail)
        assert line.startswith(f"{mlflow_url}/#/experiments/")
        assert f'href="{line}"' in html_of(mail)
        [picture] = pictures_of(mail).values()
        assert picture.startswith(b"\x89PNG")
        run_id, path = re.findall(r"/runs/(\w+)/artifacts/(.+)$", line)[0]
        folder = path.rpartition("/")[0]
        there = {file.path for file in workspace.registry.client.list_artifacts(run_id, folder)}
        assert there == {f"{folder}/report.html", f"{folder}/report.md"}
        found = tmp_path_factory.getbasetemp().glob(f"mlflow*/artifacts/**/{folder}/report.html")
        [stored] = {path.resolve() for path in found}  # pytest also makes a link to its newest folder
        assert "wind" in stored.read_text(encoding="utf-8")

        later = datetime.now(UTC) + timedelta(days=91)
        assert publication.expire(workspace, tide_config(), now=later).deleted == 1
        assert not stored.parent.exists()
        assert workspace.registry.client.get_run(run_id).info.lifecycle_stage == "deleted"
