"""The reports that are published in MLflow: one run a month in the model's experiment, one folder a report.

A run for each check would bury the trained versions under thousands of runs. The run of a month has the tag
`MONTH_TAG`, and a report's folder is named after what it is about. So a report that is published again replaces its own
files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit, urlunsplit

from keel.errors import SchemaError, UnknownVersion, without_credentials

if TYPE_CHECKING:
    from keel.registry.mlflow_client import Tracking

MONTH_TAG = "keel.reports"
"""The tag of a run of reports: the month of their windows' ends, such as ``2013-06``."""


@dataclass(frozen=True)
class Published:
    """A report in MLflow: the run of its month, its folder there, and where a person finds its main file."""

    run_id: str
    folder: str
    address: str
    """An address of MLflow's pages, or the path of a file where MLflow is a database on this machine."""


class ReportFiles:
    """The published reports in one MLflow.

    experiment: returns the id of a model's experiment, and creates it where it is missing.
    pages: address at which people reach MLflow's pages. Default: the tracking URI, if it is one of a server.
    """

    def __init__(self, tracking: Tracking, experiment: Callable[[Any, str], str], *, pages: str | None = None) -> None:
        self._tracking, self._experiment, self._pages = tracking, experiment, pages

    def publish(self, model: str, month: str, folder: str, files: Mapping[str, str], *, main: str) -> Published:
        """Write the files of a report in place of those in its folder, and return where they are.

        folder: within the month; without a slash. main: the file that `Published.address` leads to.
        """
        with self._tracking.reachable(), tempfile.TemporaryDirectory() as local:
            client = self._tracking.client
            run = self._run_of(client, self._experiment(client, model), month)
            for name, text in files.items():
                Path(local, name).write_text(text, encoding="utf-8")
            client.log_artifacts(run.info.run_id, local, folder)
        return Published(run.info.run_id, folder, self._address(run, f"{folder}/{main}"))

    def find(self, run_id: str, path: str) -> str | None:
        """Return the address of a file of any run; None where the run or the file does not exist."""
        try:
            with self._tracking.reachable():
                client = self._tracking.client
                run = client.get_run(run_id)
                there = {file.path for file in client.list_artifacts(run_id, path.rpartition("/")[0])}
        except UnknownVersion:
            return None
        return self._address(run, path) if path in there else None

    def delete(self, run_id: str, folder: str) -> None:
        """Delete the files of a report, and the run of its month once it is empty. Without effect on what is gone."""
        if not folder or "/" in folder or ".." in folder:
            raise SchemaError(f"{folder!r} is not the folder of a published report, so nothing was deleted")
        try:
            with self._tracking.reachable():
                client = self._tracking.client
                run = client.get_run(run_id)
                if MONTH_TAG not in run.data.tags:
                    raise SchemaError(f"the run {run_id} in MLflow is not one of reports, so nothing was deleted")
                self._delete_files(client, run, folder)
        except UnknownVersion:
            return

    def _delete_files(self, client: Any, run: Any, folder: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        there = {file.path for file in client.list_artifacts(run.info.run_id)}
        if folder in there:
            location = run.info.artifact_uri
            get_artifact_repository(location, tracking_uri=self._tracking.uri).delete_artifacts(folder)
        if not there - {folder} and run.info.lifecycle_stage == "active":
            client.delete_run(run.info.run_id)

    def _run_of(self, client: Any, experiment_id: str, month: str) -> Any:
        """Return the run of a month. Of two that were made at the same time, everyone uses the older one."""
        filter_string = f"tags.`{MONTH_TAG}` = '{month}'"
        found = client.search_runs(
            [experiment_id], filter_string, max_results=1, order_by=["attributes.start_time ASC"]
        )
        if found:
            return found[0]
        run = client.create_run(experiment_id, run_name=f"reports {month}", tags={MONTH_TAG: month})
        client.update_run(run.info.run_id, status="FINISHED")
        return run

    def version_address(self, model: str, version: int) -> str | None:
        """Return the address of MLflow's page of a version; None where MLflow is a database on this machine."""
        base = self._base()
        return f"{base}/#/models/{quote(model, safe='')}/versions/{version}" if base else None

    def _base(self) -> str | None:
        """Return where MLflow's pages are; None where no server shows them."""
        base = self._pages or self._tracking.uri
        if not base.startswith(("http://", "https://")):
            return None
        parts = urlsplit(base)
        host = parts.netloc.rpartition("@")[2]  # a message holds no password
        return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))

    def _address(self, run: Any, path: str) -> str:
        if base := self._base():
            return f"{base}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/{path}"
        location = without_credentials(run.info.artifact_uri.removeprefix("file://"))
        return f"{location.rstrip('/')}/{path}"
