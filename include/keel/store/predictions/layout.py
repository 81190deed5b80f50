"""Map a model's features to its table and columns. Names come from configuration, so none is trusted.

A table or column has the name of the model or feature if both databases allow that, else a shortened name with a hash.
SQLite ignores case in names, and PostgreSQL cuts them at 63 bytes. `model_tables` and `model_columns` hold the mapping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from keel.errors import ConfigError
from keel.store.database.tables import model_columns, model_tables

if TYPE_CHECKING:
    from keel.config import FeatureKind

PREFIX = "predictions_"
OUTPUTS = ("score", "prediction")
ALLOCATION: dict[str, FeatureKind] = {"arm": "categorical", "allocation": "numeric"}
# columns of a row in an experiment: its entity, the experiment, and the output of the shadow version
EXPERIMENT: dict[str, FeatureKind] = {
    "entity": "categorical",
    "experiment": "categorical",
    "shadow_version": "numeric",
    "shadow_score": "numeric",
    "shadow_prediction": "numeric",
}
# names that a feature may not have: Keel's own columns, stored or returned
RESERVED = ("id", "time", "version", *OUTPUTS, *ALLOCATION, *EXPERIMENT, "absent", "invalid", "label", "observed_at")
# PostgreSQL's system columns, which no table may define
_SYSTEM = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_LONGEST = 63
_HASH = 12


@dataclass(frozen=True)
class Layout:
    """A model's prediction table, its features' kinds, and the column that holds each feature."""

    model: str
    kinds: dict[str, FeatureKind]
    columns: dict[str, str]
    table: sa.Table
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)
    """SQL of statements that are the same for every batch. Writing it takes longer than storing a few rows."""

    def column(self, name: str) -> sa.Column[object]:
        """Return the column of a feature, or of one of Keel's own names."""
        return self.table.c[self.columns.get(name, name)]


def check_features(model: str, features: Mapping[str, str]) -> None:
    """Raise ConfigError for a reserved or unusable name, or an unknown kind."""
    if not model or "\x00" in model:
        raise ConfigError(f"{model!r} cannot be a model's name")
    for name, kind in features.items():
        if name in RESERVED:
            raise ConfigError(
                f"{model}: a feature cannot be called {name!r}, because Keel has a column of that name: rename the "
                f"feature, and its stored values with Store.rename_feature (reserved: {', '.join(RESERVED)})"
            )
        if not name or "\x00" in name:
            raise ConfigError(f"{model}: {name!r} cannot be a feature's name")
        if kind not in ("numeric", "categorical"):
            raise ConfigError(f"{model}: feature {name!r} is {kind!r}; a feature is 'numeric' or 'categorical'")


def find_layout(connection: sa.Connection, model: str, features: Mapping[str, FeatureKind]) -> Layout | None:
    """Return the layout if the table and all columns exist, else None.

    Raises ConfigError if a feature is stored as the other kind.
    """
    name = connection.execute(sa.select(model_tables.c.table_name).where(model_tables.c.model == model)).scalar()
    if name is None:
        return None
    stored = stored_columns(connection, model)
    for feature, kind in features.items():
        if feature in stored and stored[feature][1] != kind:
            raise ConfigError(
                f"{model}: feature {feature!r} is {kind} now and stored as {stored[feature][1]}: "
                "give the feature a new name, so that the stored values keep their meaning"
            )
    if not stored.keys() >= features.keys():
        return None
    columns = {feature: stored[feature][0] for feature in features}
    return Layout(model, dict(features), columns, describe(str(name), columns, features))


def create_layout(connection: sa.Connection, model: str, features: Mapping[str, FeatureKind]) -> Layout:
    """Create the table, or its missing columns, in the connection's transaction. Returns the layout."""
    existing = find_layout(connection, model, {})
    stored = stored_columns(connection, model)
    taken = {column.casefold() for column, _ in stored.values()} | {*RESERVED, *_SYSTEM}
    added: dict[str, str] = {}
    for feature in features:
        if feature not in stored:
            added[feature] = physical_name(feature, taken)
            taken.add(added[feature].casefold())
    if existing is None:
        others = connection.execute(sa.select(model_tables.c.table_name)).scalars()
        name = physical_name(PREFIX + model, {other.casefold() for other in others})
        connection.execute(sa.insert(model_tables).values(model=model, table_name=name))
        table = describe(name, added, features)
        table.create(connection)
        sa.Index(f"keel_time_{digest(name)}", table.c.time).create(connection)
    else:
        add_columns(connection, existing.table.name, describe(existing.table.name, added, features), added.values())
    for feature, column in added.items():
        row = {"model": model, "feature": feature, "column_name": column, "kind": features[feature]}
        connection.execute(sa.insert(model_columns).values(**row))
    layout = find_layout(connection, model, features)
    if layout is None:
        raise AssertionError(f"{model}: the table just created is not found")
    return layout


def rename_feature(connection: sa.Connection, model: str, old: str, new: str) -> None:
    """Assign the column of feature ``old`` to ``new``; `ConfigError` if ``old`` is missing or ``new`` exists."""
    stored = stored_columns(connection, model)
    if old not in stored:
        raise ConfigError(f"{model} has no feature {old!r}; it has {', '.join(sorted(stored)) or 'none'}")
    if new in stored:
        raise ConfigError(f"{model}: feature {new!r} is stored already; choose a name that is free")
    check_features(model, {new: stored[old][1]})
    mine = sa.and_(model_columns.c.model == model, model_columns.c.feature == old)
    connection.execute(sa.update(model_columns).where(mine).values(feature=new))


def stored_columns(connection: sa.Connection, model: str) -> dict[str, tuple[str, FeatureKind]]:
    """Return column and kind of every feature that the model's table has or had."""
    fields = model_columns.c
    rows = connection.execute(sa.select(fields.feature, fields.column_name, fields.kind).where(fields.model == model))
    return {feature: (column, cast("FeatureKind", kind)) for feature, column, kind in rows}


def describe(name: str, columns: Mapping[str, str], kinds: Mapping[str, FeatureKind]) -> sa.Table:
    """Return the table for SQLAlchemy, with every name quoted."""
    own: list[sa.Column[Any]] = [
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger),
        sa.Column("score", sa.Double),
        sa.Column("prediction", sa.Double),
        sa.Column("arm", sa.Text),
        sa.Column("allocation", sa.Double),
        sa.Column("absent", sa.Text),
        sa.Column("invalid", sa.Text),
        sa.Column("entity", sa.Text),
        sa.Column("experiment", sa.Text),
        sa.Column("shadow_version", sa.BigInteger),
        sa.Column("shadow_score", sa.Double),
        sa.Column("shadow_prediction", sa.Double),
    ]
    types: dict[FeatureKind, type[sa.Double[float]] | type[sa.Text]] = {"numeric": sa.Double, "categorical": sa.Text}
    features: list[sa.Column[Any]] = [
        sa.Column(quoted_name(column, True), types[kinds[feature]]) for feature, column in columns.items()
    ]
    return sa.Table(quoted_name(name, True), sa.MetaData(), *own, *features)


def add_columns(connection: sa.Connection, name: str, table: sa.Table, columns: Iterable[str]) -> None:
    """Add ``columns`` of ``table`` to the existing table."""
    quote = connection.dialect.identifier_preparer.quote_identifier
    for column in columns:
        kind = table.c[column].type.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {quote(name)} ADD COLUMN {quote(column)} {kind}")


def physical_name(name: str, taken: Iterable[str]) -> str:
    """Return ``name`` if both databases can tell it from ``taken`` (case-folded), else a name with a hash.

    >>> physical_name("temp", ["time"]), physical_name("Time", ["time"])
    ('temp', 'Time_33b93476cf59')
    """
    encoded = name.encode()
    if len(encoded) <= _LONGEST and name.casefold() not in taken:
        return name
    return encoded[: _LONGEST - _HASH - 1].decode(errors="ignore") + "_" + digest(name)


def digest(name: str) -> str:
    """Return the first hexadecimal digits of the name's SHA-256."""
    return hashlib.sha256(name.encode()).hexdigest()[:_HASH]
