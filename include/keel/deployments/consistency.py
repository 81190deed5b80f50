"""Check that the ``deployments`` table, which the scoring service and MLflow follow, agrees with the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import select

from keel.deployments.history import Deployment, fold
from keel.ledger import entries as ledger
from keel.ledger.verification import ALIASES, format_aliases
from keel.store.database.tables import deployments

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keel.store import Store


def find_disagreements(store: Store) -> list[str]:
    """Return a sentence for each model whose ``deployments`` row disagrees with its ledger rows.

    Both are read at the same moment. The caller verifies the chain first (`keel.ledger.entries.verify`).
    """
    with _snapshot(store) as connection:
        table = connection.execute(select(deployments)).mappings().all()
        rows = sorted(ledger.table_rows(connection), key=lambda row: str(row["model"]))
    fields = ("model", *ALIASES, "generation")
    stored = {row["model"]: Deployment(**{name: row[name] for name in fields}) for row in table}
    sentences, recorded = [], dict[str, Deployment]()
    for model, group in groupby(rows, key=lambda row: str(row["model"])):
        try:
            recorded[model] = fold(model, map(ledger.parse_entry, group)).deployment
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            sentences.append(f"{model}: its ledger rows cannot be read: {error!r}")
            stored.pop(model, None)
    for model in sorted({*stored, *recorded}):
        actual, right = stored.get(model, Deployment(model)), recorded.get(model, Deployment(model))
        if actual != right:
            sentences.append(
                f"{model}: the deployments row has {format_aliases(actual.aliases)} (generation {actual.generation}), "
                f"the ledger {format_aliases(right.aliases)} (generation {right.generation}); "
                f"to rebuild the row from the ledger: keel ledger rebuild {model}"
            )
    return sentences


@contextmanager
def _snapshot(store: Store) -> Iterator[Connection]:
    """Yield a connection on which all queries see the store as of the first query."""
    with store.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection
            return
        connection.exec_driver_sql("BEGIN")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")
