"""Whether the deployments that the service and MLflow follow are what the ledger's rows add up to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import select

from keel.deployments.history import Deployment, fold
from keel.ledger import entries as ledger
from keel.ledger.verification import ALIASES, placed
from keel.store.database.tables import deployments

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keel.store import Store


def find_disagreements(store: Store) -> list[str]:
    """Return a sentence for each model whose ``deployments`` row is not what its ledger rows add up to.

    Both are read as of one moment. It says nothing of whether the chain holds: `ledger.verify` first.
    """
    with _one_moment(store) as connection:
        kept = connection.execute(select(deployments)).mappings().all()
        rows = sorted(ledger.rows(connection), key=lambda row: str(row["model"]))
    fields = ("model", *ALIASES, "generation")
    stored = {row["model"]: Deployment(**{name: row[name] for name in fields}) for row in kept}
    said, told = [], dict[str, Deployment]()
    for model, group in groupby(rows, key=lambda row: str(row["model"])):
        try:
            told[model] = fold(model, map(ledger.entry, group)).deployment
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            said.append(f"{model}: its ledger rows do not add up: {error!r}")
            stored.pop(model, None)
    for model in sorted({*stored, *told}):
        is_now, must_be = stored.get(model, Deployment(model)), told.get(model, Deployment(model))
        if is_now != must_be:
            said.append(
                f"{model}: the deployments row says {placed(is_now.aliases)} (generation {is_now.generation}), "
                f"the ledger {placed(must_be.aliases)} (generation {must_be.generation}); "
                f"to write it again from the ledger: keel ledger rebuild {model}"
            )
    return said


@contextmanager
def _one_moment(store: Store) -> Iterator[Connection]:
    """Lend a connection on which all queries see the store as of the first."""
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
