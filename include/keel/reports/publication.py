"""Publish pages in MLflow, know where they are, and delete them when they are old.

The store knows what is published, under the id of what the page is about: a page that is published again replaces its
own files, a message finds the address, and the maintenance deletes by age without listing a single file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from keel.config.loading import shown_duration
from keel.errors import RegistryRefused, SchemaError
from keel.monitoring.records import Record, Time
from keel.registry.report_files import MONTH_TAG

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.monitoring.records import ComparisonRecord, MessagePicture
    from keel.reports.page import Page
    from keel.window import Window
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

KIND = "publication"
"""Of the store's reports."""
PUBLISHED, EXPIRED = "published", "expired"
MAIN, PLAIN = "report.html", "report.md"
COMPARISON = "keel/comparison.html"
"""The page of a comparison, in the challenger's run. It is deleted with the version."""


class Publication(Record):
    """A page in MLflow."""

    run_id: str
    """The run of its month."""
    folder: str
    address: str
    """Of MLflow's page that shows it, or a path where MLflow is a database on this machine."""
    published_at: Time


@dataclass(frozen=True)
class PublishedReport:
    """The page that a message is about: as text for the task's log, with one picture, and where it was published."""

    markdown: str
    picture: MessagePicture | None = None
    """The one picture for a mail, as data."""
    address: str | None = None
    """Where the page was published; None where it was not."""
    problem: str | None = None
    """Why it could not be published, or not even be made."""


class ExpiredReports(Record):
    """The published reports of a model that were deleted."""

    model: str
    deleted: int = 0
    before: Time | None = None
    """Those published before this time were deleted; None where reports never expire."""
    sentence: str = ""


def publish(
    ws: Workspace, config: ModelConfig, page: Page, *, about: str, name: str, window: Window, now: datetime
) -> Publication:
    """Write a page into the model's MLflow experiment, in place of an earlier one about the same.

    about: id of the decision or comparison that the page is about.
    name: of its folder, after the window's end; another page about that window has another.
    window: the page lies in the run of the month in which this ends.

    Raises
    ------
    RegistryUnavailable, RegistryRefused
        MLflow cannot be reached, or does not accept the files.

    """
    folder = f"{window.end:%Y-%m-%dT%H}_{name}"
    from keel.reports import html, markdown  # here, because most readers of this module render nothing

    files = {MAIN: html.render(page), PLAIN: markdown.render(page)}
    found = ws.registry.reports.publish(config.model, f"{window.end:%Y-%m}", folder, files, main=MAIN)
    done = Publication(run_id=found.run_id, folder=found.folder, address=found.address, published_at=now)
    ws.store.reports.put(_id(about), config.model, None, KIND, window.start, window.end, PUBLISHED, done.to_dict(), now)
    return done


def comparison_address(ws: Workspace, comparison: ComparisonRecord) -> str | None:
    """Return where the page of a comparison is, which lies in the challenger's run; None where there is none.

    Raises
    ------
    RegistryUnavailable
        MLflow cannot be reached.

    """
    run_id = comparison.mlflow_run_id
    return ws.registry.reports.find(run_id, COMPARISON) if run_id else None


def published(ws: Workspace, about: str) -> Publication | None:
    """Return where the page about a decision or comparison is; None where there is none, or none any more."""
    found = ws.store.reports.get(_id(about))
    return Publication.from_dict(found["body"]) if found and found["status"] == PUBLISHED else None


def expire(ws: Workspace, config: ModelConfig, *, now: datetime) -> ExpiredReports:
    """Delete the files of a model's reports that were published longer ago than `reports.retention`.

    The records that the pages show stay. What was deleted is marked in the store after its files are gone, so that an
    interrupted run is completed by the next.

    Raises
    ------
    SchemaError
        Some reports could not be deleted. All others are deleted by then.
    RegistryUnavailable
        MLflow cannot be reached.

    """
    age = config.reports.retention
    if age is None:
        return ExpiredReports(
            model=config.model, sentence=f"Published reports of {config.model} are kept for ever (reports.retention)."
        )
    before, deleted, kept = now - age, 0, list[str]()
    for row in ws.store.reports.list(config.model, KIND, None, statuses=(PUBLISHED,)):
        old = Publication.from_dict(row["body"])
        if old.published_at >= before:
            continue
        try:
            ws.registry.reports.delete(old.run_id, old.folder)
        except (SchemaError, RegistryRefused) as error:  # the older ones come after it
            log.warning("the report %s was not deleted: %s", old.folder, error)
            kept.append(f"{old.folder}: {error}")
            continue
        window = row["window_start"], row["window_end"]
        ws.store.reports.put(row["report_id"], config.model, None, KIND, *window, EXPIRED, row["body"], now)
        deleted += 1
    log.info("deleted %d published reports of %s from before %s", deleted, config.model, before)
    if kept:
        others = f"; the task's log names {len(kept) - 1:,} more" if len(kept) > 1 else ""
        raise SchemaError(
            f"deleted {deleted:,} published reports of {config.model}, and could not delete {kept[0]}{others}. "
            f"Give the run its tag {MONTH_TAG} again, or delete the run in MLflow"
        )
    sentence = (
        f"Deleted {deleted:,} published report{'' if deleted == 1 else 's'} of {config.model} "
        f"from before {before:%Y-%m-%d %H:%M} UTC (reports.retention {shown_duration(age)})."
    )
    return ExpiredReports(model=config.model, deleted=deleted, before=before, sentence=sentence)


def _id(about: str) -> str:
    return f"{KIND}-{about}"
