"""Check that the tables ``deployments`` and ``experiments``, which others follow, agree with the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from keel.deployments import experiments
from keel.deployments.experiments import Experiment
from keel.deployments.history import Deployment, fold
from keel.ledger import entries as ledger
from keel.ledger.verification import ALIASES, format_aliases
from keel.store.database.tables import deployments
from keel.store.database.tables import experiments as experiments_table

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from keel.store import Store


def find_disagreements(store: Store) -> list[str]:
    """Return a sentence for each model whose row or experiments disagree with its ledger rows.

    All tables are read at the same moment. The caller verifies the chain first (`keel.ledger.entries.verify`).
    """
    with _snapshot(store) as connection:
        table = connection.execute(select(deployments)).mappings().all()
        tried = [dict(row) for row in connection.execute(select(experiments_table)).mappings()]
        rows = sorted(ledger.table_rows(connection), key=lambda row: str(row["model"]))
    fields = ("model", *ALIASES, "generation")
    stored = {row["model"]: Deployment(**{name: row[name] for name in fields}) for row in table}
    run = {model: list(group) for model, group in groupby(sorted(tried, key=_model_of), _model_of)}
    sentences, recorded, planned = [], dict[str, Deployment](), dict[str, list[Experiment]]()
    for model, group in groupby(rows, _model_of):
        try:
            entries = list(map(ledger.parse_entry, group))
            recorded[model] = fold(model, entries).deployment
            planned |= experiments.fold(entries)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            sentences.append(f"{model}: its ledger rows cannot be read: {error!r}")
            stored.pop(model, None)
            run.pop(model, None)
            recorded.pop(model, None)
    for model in sorted({*stored, *recorded, *run}):
        actual, right = stored.get(model, Deployment(model)), recorded.get(model, Deployment(model))
        if actual != right:
            sentences.append(
                f"{model}: the deployments row has {format_aliases(actual.aliases)} (generation {actual.generation}), "
                f"the ledger {format_aliases(right.aliases)} (generation {right.generation}); "
                f"to rebuild the row from the ledger: keel ledger rebuild {model}"
            )
        if wrong := _wrong_experiments(run.get(model, []), planned.get(model, [])):
            sentences.append(
                f"{model}: the experiments table differs from the ledger in {', '.join(wrong)}; "
                f"to rebuild it from the ledger: keel ledger rebuild {model}"
            )
    return sentences


def _model_of(row: Mapping[str, Any]) -> str:
    return str(row["model"])


def _wrong_experiments(rows: Iterable[Mapping[str, Any]], planned: Iterable[Experiment]) -> list[str]:
    """Return the ids of experiments whose row is missing, differs from the ledger or is not in it."""
    stored = {row["experiment_id"]: row for row in rows}
    right = {each.plan.experiment_id: experiments.table_values(each) for each in planned}
    return [name for name in sorted(stored.keys() | right.keys()) if stored.get(name) != right.get(name)]


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
