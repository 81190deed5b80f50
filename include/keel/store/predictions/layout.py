"""Map a model's features to its table and columns. Names come from configuration, so none is trusted.

A table or column has the name of the model or feature if both databases allow that, else a shortened name with a hash.
SQLite ignores case in names, and PostgreSQL cuts them at 63 bytes. `model_tables` and `model_columns` hold the mapping.

A table of PostgreSQL has at most 1,600 columns, and a row without its long texts at most 8,160 bytes; a table of SQLite
has at most 2,000 columns. Features beyond `COLUMN_BYTES` therefore share two columns, by slots that `packed_features`
holds: see `keel.store.predictions.packing`. A feature in both tables had a column of its own before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from keel.config.feature_names import RESERVED, why_unusable
from keel.errors import ConfigError
from keel.store.database.tables import model_columns, model_tables, packed_features
from keel.store.predictions.packing import NUMBERS, PACKED

if TYPE_CHECKING:
    from keel.config import FeatureKind
    from keel.store.predictions.target_values import TargetKind

PREFIX = "predictions_"
ARRIVAL = "keel_arrival"
"""Column of a row's arrival number. Not ``arrival``, because a feature may be called so."""
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
# PostgreSQL's system columns, which no table may define
_SYSTEM = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_LONGEST = 63
_HASH = 12

COLUMN_BYTES = 6_000
"""Bytes of a row in which features have columns of their own: 750 numeric features, or 187 categorical ones.

A row of PostgreSQL holds 8,160 bytes; the rest is for Keel's own columns and the row's header."""
BYTES_OF: dict[FeatureKind, int] = {"numeric": 8, "categorical": 32}
"""Of one value at most. PostgreSQL moves texts out of the row, but none of up to 24 bytes; the rest is alignment."""
MAX_COLUMNS = 1_200
"""Columns of a model's features, those of former features included."""


class Stored(NamedTuple):
    """How a feature is stored: its kind, its column if it has one, and its slot if it is packed."""

    kind: FeatureKind
    column: str | None
    slot: int | None


@dataclass(frozen=True)
class Layout:
    """A model's prediction table, its features' kinds, and the column or slot that holds each feature.

    slots: of the packed features. A packed feature that also has a column had it before, and is written to its slot.
    """

    model: str
    kinds: dict[str, FeatureKind]
    columns: dict[str, str]
    slots: dict[str, int]
    table: sa.Table
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False, repr=False)
    """SQL of statements that are the same for every batch. Writing it takes longer than storing a few rows."""

    def column(self, name: str) -> sa.Column[object]:
        """Return the column of a feature, or of one of Keel's own names."""
        return self.table.c[self.columns.get(name, name)]

    def stored_names(self, names: Sequence[str]) -> list[str]:
        """Return the names whose columns hold what belongs to ``names``: the packed columns in place of slots."""
        packed = PACKED if self.slots.keys() & set(names) else ()
        return [name for name in names if name in self.columns or name not in self.slots] + list(packed)


def check_features(model: str, features: Mapping[str, str]) -> None:
    """Raise ConfigError for a reserved or unusable name, or an unknown kind."""
    if not model or "\x00" in model:
        raise ConfigError(f"{model!r} cannot be a model's name")
    if reason := why_unusable(features):
        raise ConfigError(f"{model}: {reason}; move stored values to the new name with Store.rename_feature")
    for name, kind in features.items():
        if kind not in ("numeric", "categorical"):
            raise ConfigError(f"{model}: feature {name!r} is {kind!r}; a feature is 'numeric' or 'categorical'")


def find_layout(connection: sa.Connection, model: str, features: Mapping[str, FeatureKind]) -> Layout | None:
    """Return the layout if the table exists and stores all features, else None.

    Raises ConfigError if a feature is stored as the other kind.
    """
    name = connection.execute(sa.select(model_tables.c.table_name).where(model_tables.c.model == model)).scalar()
    if name is None:
        return None
    stored = stored_features(connection, model)
    for feature, kind in features.items():
        if feature in stored and stored[feature].kind != kind:
            raise ConfigError(
                f"{model}: feature {feature!r} is {kind} now and stored as {stored[feature].kind}: "
                "give the feature a new name, so that the stored values keep their meaning"
            )
    if not stored.keys() >= features.keys() or unplaced(connection, features, stored):
        return None
    columns = {feature: column for feature in features if (column := stored[feature].column) is not None}
    slots = {feature: slot for feature in features if (slot := stored[feature].slot) is not None}
    return Layout(
        model, dict(features), columns, slots, describe(str(name), columns, features, PACKED if slots else ())
    )


def unplaced(connection: sa.Connection, features: Mapping[str, FeatureKind], stored: Mapping[str, Stored]) -> list[str]:
    """Return the features without a place that is sure to hold them: new ones, and columns beyond a row's size.

    Such columns are of tables that Keel 0.1 made. SQLite holds them.
    """
    is_limited = connection.dialect.name == "postgresql"
    used, found = 0, []
    for feature in (name for name in features if name in stored and stored[name].slot is None):
        used += BYTES_OF[features[feature]]
        if is_limited and used > COLUMN_BYTES:
            found.append(feature)
    return found + [feature for feature in features if feature not in stored]


def create_layout(
    connection: sa.Connection, model: str, features: Mapping[str, FeatureKind], target: TargetKind | None = None
) -> Layout:
    """Create the table, or places for its missing features, in the connection's transaction. Returns the layout.

    target: the kind of target, kept with a new table (`keel.store.predictions.target_values.target_of`).
    """
    existing = find_layout(connection, model, {})
    stored = stored_features(connection, model)
    added, packed = place(connection, features, stored)
    if existing is None:
        others = connection.execute(sa.select(model_tables.c.table_name)).scalars()
        name = physical_name(PREFIX + model, {other.casefold() for other in others})
        connection.execute(sa.insert(model_tables).values(model=model, table_name=name, target=target))
        table = describe(name, added, features, PACKED if packed else ())
        table.create(connection)
        sa.Index(f"keel_time_{digest(name)}", table.c.time).create(connection)
        arrival_index(table).create(connection)
    else:
        name = existing.table.name
        first = PACKED if packed and all(each.slot is None for each in stored.values()) else ()
        add_columns(connection, name, describe(name, added, features, first), [*added.values(), *first])
    columns = [
        {"model": model, "feature": feature, "column_name": column, "kind": features[feature]}
        for feature, column in added.items()
    ]
    slots = [
        {"model": model, "feature": feature, "kind": features[feature], "slot": slot}
        for feature, slot in packed.items()
    ]
    for entries, of in ((columns, model_columns), (slots, packed_features)):
        if entries:
            connection.execute(sa.insert(of), entries)
    layout = find_layout(connection, model, features)
    if layout is None:
        raise AssertionError(f"{model}: the table just created is not found")
    return layout


def place(
    connection: sa.Connection, features: Mapping[str, FeatureKind], stored: Mapping[str, Stored]
) -> tuple[dict[str, str], dict[str, int]]:
    """Return a column for each new feature that fits into a row, and a slot for each other feature without a place."""
    taken = {each.column.casefold() for each in stored.values() if each.column} | {*RESERVED, *_SYSTEM, *PACKED}
    columns = sum(each.column is not None for each in stored.values())
    next_slot = dict.fromkeys(BYTES_OF, 0)
    for each in stored.values():
        if each.slot is not None:
            next_slot[each.kind] = max(next_slot[each.kind], each.slot + 1)
    waiting = unplaced(connection, features, stored)
    settled = features.keys() - set(waiting)
    used = sum(BYTES_OF[features[name]] for name in settled if stored[name].slot is None)
    added: dict[str, str] = {}
    packed: dict[str, int] = {}
    for feature in waiting:
        kind = features[feature]
        if feature not in stored and used + BYTES_OF[kind] <= COLUMN_BYTES and columns < MAX_COLUMNS:
            added[feature] = physical_name(feature, taken)
            taken.add(added[feature].casefold())
            used, columns = used + BYTES_OF[kind], columns + 1
        else:
            packed[feature] = next_slot[kind]
            next_slot[kind] += 1
    return added, packed


def rename_feature(connection: sa.Connection, model: str, old: str, new: str) -> None:
    """Assign the place of feature ``old`` to ``new``; `ConfigError` if ``old`` is missing or ``new`` exists."""
    stored = stored_features(connection, model)
    if old not in stored:
        raise ConfigError(f"{model} has no feature {old!r}; it has {', '.join(sorted(stored)) or 'none'}")
    if new in stored:
        raise ConfigError(f"{model}: feature {new!r} is stored already; choose a name that is free")
    check_features(model, {new: stored[old].kind})
    for table in (model_columns, packed_features):
        mine = sa.and_(table.c.model == model, table.c.feature == old)
        connection.execute(sa.update(table).where(mine).values(feature=new))


def stored_features(connection: sa.Connection, model: str) -> dict[str, Stored]:
    """Return how every feature is stored that the model's table has or had."""
    by_column, by_slot = model_columns.c, packed_features.c
    columns = sa.select(by_column.feature, by_column.kind, by_column.column_name).where(by_column.model == model)
    slots = sa.select(by_slot.feature, by_slot.kind, by_slot.slot).where(by_slot.model == model)
    found = {
        name: Stored(cast("FeatureKind", kind), column, None) for name, kind, column in connection.execute(columns)
    }
    for name, kind, slot in connection.execute(slots):
        column = found[name].column if name in found else None
        found[name] = Stored(cast("FeatureKind", kind), column, slot)
    return found


def describe(
    name: str, columns: Mapping[str, str], kinds: Mapping[str, FeatureKind], packed: Iterable[str]
) -> sa.Table:
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
        sa.Column(ARRIVAL, sa.BigInteger),
    ]
    types: dict[FeatureKind, type[sa.Double[float]] | type[sa.Text]] = {"numeric": sa.Double, "categorical": sa.Text}
    features: list[sa.Column[Any]] = [
        sa.Column(quoted_name(column, True), types[kinds[feature]]) for feature, column in columns.items()
    ]
    own += [sa.Column(column, sa.LargeBinary if column == NUMBERS else sa.Text) for column in packed]
    return sa.Table(quoted_name(name, True), sa.MetaData(), *own, *features)


def arrival_index(table: sa.Table) -> sa.Index:
    """Return the index by which `keel.store.predictions.arrivals` follows a version's rows."""
    numbered = table.c[ARRIVAL].is_not(None)
    name = f"keel_arrival_{digest(table.name)}"
    return sa.Index(name, table.c.version, table.c[ARRIVAL], sqlite_where=numbered, postgresql_where=numbered)


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
