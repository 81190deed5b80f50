"""Look up the checksums that the ledger recorded when a version was registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import select

from keel.deployments.history import fold
from keel.errors import LedgerBroken
from keel.ledger import entries as ledger
from keel.store.database.tables import ledger as ledger_table

if TYPE_CHECKING:
    from keel.registry.pin import Pin
    from keel.store import Store


class LedgerPins:
    """Looks up a version's pin in the ledger's ``register`` rows; a row never changes, so each is read once.

    A pin is the version's MLflow run and the SHA-256 of each of its files. The row's own hash shows whether the row was
    altered. `keel.ledger.entries.verify` shows whether the chain of rows is whole.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[tuple[str, int], Pin] = {}

    def __call__(self, model: str, version: int) -> Pin | None:
        """Return the pin of a version; None if no row registers it.

        Raises
        ------
        LedgerBroken
            The row was altered.

        """
        key = (model, version)
        if key not in self._found:
            pin = self._read(model).get(version)
            if pin is None:
                return None
            if not self._is_intact(pin):
                raise LedgerBroken(
                    f"row {pin.seq} of the ledger, which registers version {version} of {model}, was changed after it "
                    "was written, so Keel does not load the version; to find other changes: keel ledger verify"
                )
            self._found[key] = pin
        return self._found[key]

    def _read(self, model: str) -> Mapping[int, Pin]:
        try:
            return fold(model, ledger.entries(self._store, model, ledger.Action.REGISTER)).pins
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise LedgerBroken(
                f"the ledger's register rows of {model} cannot be read ({error!r}): keel ledger verify"
            ) from None

    def _is_intact(self, pin: Pin) -> bool:
        with self._store.connect() as connection:
            row = connection.execute(select(ledger_table).where(ledger_table.c.seq == pin.seq)).mappings().one()
        try:
            return ledger.digest(dict(row)) == row["hash"]
        except TypeError:  # bytes, which SQLite stores in any column
            return False
