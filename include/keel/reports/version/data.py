"""Collect what the page of a version shows. Only the version has to exist: whatever else is missing is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keel.deployments.history import Status, fold, production_since
from keel.deployments.versions import describe
from keel.errors import KeelError, UnknownVersion
from keel.ledger import entries as ledger
from keel.ledger import narrative
from keel.monitoring.records import StoredDriftReport
from keel.reports.check.history import version_series
from keel.reports.distributions import distribution

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.ledger.entries import Entry
    from keel.registry.pin import Pin
    from keel.reports.charts.specs import Categories, Histogram
    from keel.reports.check.history import Measured
    from keel.workspace import Workspace


@dataclass(frozen=True)
class TrainedColumn:
    """A column of the rows that a version was trained on."""

    name: str
    kind: str
    missing: float
    """Share of the rows without a value."""
    minimum: float | None
    maximum: float | None
    categories: tuple[tuple[str, int], ...]
    """Of a categorical column: rows by category, the most frequent first."""
    chart: Histogram | Categories


@dataclass(frozen=True)
class LedgerLine:
    """A ledger row about the version."""

    seq: int
    at: datetime
    action: str
    sentence: str


@dataclass(frozen=True)
class VersionData:
    """What is known of a version. Every part but the first three may be missing."""

    config: ModelConfig
    version: int
    described: Mapping[str, Any]
    """As `keel.deployments.versions.describe`."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """Its baseline: metrics, threshold, labels, training rows and holdout."""
    fault: str = ""
    """Why its files cannot be read."""
    tags: Mapping[str, str] = field(default_factory=dict)
    pin: Pin | None = None
    columns: tuple[TrainedColumn, ...] = ()
    series: tuple[Measured, ...] = ()
    """Its performance on live labels."""
    drift: StoredDriftReport | None = None
    """Of the last check of the version."""
    drift_until: datetime | None = None
    comparisons: tuple[Mapping[str, Any], ...] = ()
    """Stored comparisons that it took part in, the newest first."""
    ledger: tuple[LedgerLine, ...] = ()
    production_since: datetime | None = None
    """Since when it is in production, as `keel status` has it; None for any other version."""


def collect(ws: Workspace, config: ModelConfig, version: int) -> VersionData:
    """Return what is known of a version.

    Raises
    ------
    UnknownVersion
        Neither the ledger nor MLflow has it; the message names those that exist.

    """
    model = config.model
    described = {each["version"]: each for each in describe(ws.store, ws.registry, model)}
    if version not in described:
        known = ", ".join(map(str, described)) or "none"
        raise UnknownVersion(f"{model} has no version {version}; versions: {known} (keel versions list {model} --all)")
    rows = list(ledger.entries(ws.store, model))
    reference, columns, fault = _files(ws, config, version)
    report = next(iter(ws.store.reports.list(model, "drift", version=version, limit=1)), None)
    return VersionData(
        config,
        version,
        described[version],
        reference,
        fault,
        _tags(ws, model, version, rows),
        fold(model, rows).pins.get(version),
        columns,
        version_series(ws, config, version),
        StoredDriftReport.from_dict(report["body"]) if report else None,
        report["window_end"] if report else None,
        _comparisons(ws, model, version),
        tuple(
            LedgerLine(row.seq, row.at, row.action, narrative.describe(row)) for row in rows if _is_about(row, version)
        ),
        production_since(rows) if described[version]["status"] == Status.PRODUCTION else None,
    )


def _files(
    ws: Workspace, config: ModelConfig, version: int
) -> tuple[Mapping[str, Any], tuple[TrainedColumn, ...], str]:
    """Return the baseline and the columns that were registered with a version, or why they cannot be read."""
    try:
        reference = ws.registry.reference(config.model, version)
        grid = ws.registry.grid(config.model, version)
    except KeelError as error:
        return {}, (), str(error)
    columns = []
    for column in grid.columns:
        if column.name not in grid.features:
            continue
        counts = grid.reference.column(column.name)
        named = zip(column.vocabulary, counts.cells.tolist(), strict=False)
        columns.append(
            TrainedColumn(
                column.name,
                column.kind,
                counts.missing / counts.n if counts.n else 0.0,
                counts.minimum,
                counts.maximum,
                tuple(sorted(named, key=lambda pair: (-pair[1], pair[0]))),
                distribution(column, None, counts),
            )
        )
    return reference, tuple(columns), ""


def _tags(ws: Workspace, model: str, version: int, rows: list[Entry]) -> Mapping[str, str]:
    """Return a version's tags, from the ledger where it has them: those in MLflow can be changed."""
    for row in rows:
        if row.action == ledger.Action.REGISTER and row.body.get("artifacts", {}).get("version") == version:
            tags = row.body.get("evidence", {}).get("tags") or {}
            break
    else:
        tags = {}
    if tags:
        return dict(tags)
    found = next((each for each in ws.registry.versions(model) if each.version == version), None)
    return dict(found.tags) if found else {}


def _comparisons(ws: Workspace, model: str, version: int) -> tuple[Mapping[str, Any], ...]:
    stored = ws.store.reports.list(model, "comparison", limit=None)
    bodies = [report["body"] for report in stored]
    return tuple(body for body in bodies if version in (body.get("champion"), body.get("challenger")))


def _is_about(row: Entry, version: int) -> bool:
    """Whether a row gives a version a status, changes its place, or names it in its evidence or experiment."""
    parts = {name: row.body.get(name) or {} for name in ("evidence", "artifacts", "approval", "experiment", "statuses")}
    named = {each.get(who) for each in parts.values() for who in ("version", "challenger", "champion")}
    before, after = ((row.body.get(name) or {}).get("production") for name in ("from", "to"))
    named |= {before, after} if before != after else set()
    return version in named or str(version) in parts["statuses"]
