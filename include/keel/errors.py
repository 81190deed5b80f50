"""What can go wrong, named once: the adapter, the command line and the HTTP side map these and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KeelError(Exception):
    """Base of every error Keel raises on purpose.

    Attributes
    ----------
    exit_code : int
        What the command line exits with: 1 a check failed, 2 usage or configuration, 3 infrastructure.
    permanent : bool
        True when trying again cannot help, so that an operator fails the task without retries.
    """

    exit_code: int = 1
    permanent: bool = True


class ConfigError(KeelError):
    """A configuration file, environment variable or DAG parameter that cannot be used; names file and key."""

    exit_code = 2


class SchemaError(KeelError):
    """A table without what Keel must have to store or count it at all, such as ids or times; names the column."""

    exit_code = 2


class GridMismatch(KeelError):
    """Counts of two different reference grids were to be added or compared."""

    exit_code = 2


class InsufficientData(KeelError):
    """Too few rows for a result that could be trusted."""

    def __init__(self, *, feature: str, needed: int, got: int) -> None:
        super().__init__(f"{feature}: needs at least {needed} rows, got {got}")
        self.feature, self.needed, self.got = feature, needed, got


class UnknownModel(KeelError):
    """No model of that name is configured; the message lists those that are."""

    exit_code = 2

    def __init__(self, model: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            f"no model named {model!r} is configured{suggestion(model, names)}; "
            f"configured: {', '.join(names) or 'none'}"
        )


class UnknownVersion(KeelError):
    """A version or alias that the registry does not have; the message lists what exists."""

    exit_code = 2


class UnknownQuarantine(KeelError):
    """A stretch that is not set aside was to be released; the message lists those that are."""

    exit_code = 2


class NoProductionVersion(KeelError):
    """A model without a production version was to be checked or served; the message says how to get one."""

    exit_code = 2


class StaleGeneration(KeelError):
    """A deployment changed between reading it and writing it; read it again and decide again."""


class TrainingFailed(KeelError):
    """The model's own pipeline raised, or gave back what cannot be used."""


class NotPromotable(KeelError):
    """A version that may not go into production, such as one that was rejected; the message names the way out."""

    exit_code = 2


class NotApproved(KeelError):
    """A promotion that needs a person's approval has none that counts."""


class NothingToRollBackTo(KeelError):
    """A rollback without a version to go back to; the message names what there is."""

    exit_code = 2


class ArtifactChanged(KeelError):
    """A version's artifacts are not those that were registered, or nothing says which were; it is not loaded."""


class LedgerBroken(KeelError):
    """The ledger is not what was written: a row was changed, removed, moved or rewritten; the message names it."""


class BadRequest(KeelError):
    """A request that the scoring service cannot answer; names the column, row or key. Nothing of it is kept.

    status : int
        The HTTP status that says so.
    """

    exit_code = 2

    def __init__(self, message: str, *, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


class SpoolFull(KeelError):
    """The local spool cannot take another record: its disk, or the limit set for it, is full."""

    exit_code = 3
    permanent = False


class SpoolFailed(KeelError):
    """The local spool cannot be read or written, or is closed; names the file and what the system said."""

    exit_code = 3
    permanent = False


class UnknownExperiment(KeelError):
    """An experiment that does not exist; the message lists those that do."""

    exit_code = 2


class ExperimentRefused(KeelError):
    """An experiment that cannot be started or stopped as asked; the message says why."""

    exit_code = 2


class Overloaded(KeelError):
    """More rows wait to be scored than the service lets wait; the same request later may be answered."""

    exit_code = 3
    permanent = False
    status = 503


class ScoringFailed(KeelError):
    """A version raised for the rows of a request, or gave back what is no answer to them.

    without_values: the same without the words of whoever wrote the version, which may repeat a value; for logs.
    """

    status = 500

    def __init__(self, message: str, *, without_values: str | None = None) -> None:
        super().__init__(message)
        self.without_values = without_values or message


class StoreDamaged(KeelError):
    """What is stored does not fit together any more; the message says where, and what to do."""


class StoreUnavailable(KeelError):
    """The store cannot be reached or does not answer; never a reason to read a check as all clear."""

    exit_code = 3
    permanent = False


class RegistryUnavailable(KeelError):
    """The model registry cannot be reached or does not answer."""

    exit_code = 3
    permanent = False


LONGEST_NAME = 1_000
"""Characters of a word for which a near one is looked for: of millions, which a client can send, that takes seconds."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``known``, or an empty string.

    >>> suggestion("alhpa", ["alpha", "psi_warn"])
    "; did you mean 'alpha'?"
    """
    nearest = get_close_matches(word, list(known), n=1) if len(word) <= LONGEST_NAME else ()
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
