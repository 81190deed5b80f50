"""Keel's errors, which the Airflow adapter, the command line and the scoring service map in one place each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches


class KeelError(Exception):
    """Base class of the errors that Keel raises on purpose.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line: 1 a check failed, 2 usage or configuration, 3 infrastructure.
    permanent : bool
        Whether a retry cannot help. An operator then fails its task without retries.
    in_public : str
        What a page says in place of the message, which has the address of a server; empty: the message.

    """

    exit_code: int = 1
    permanent: bool = True
    in_public: str = ""

    @property
    def public(self) -> str:
        """What everybody may read who may read about a model."""
        return self.in_public or str(self)


class ConfigError(KeelError):
    """A configuration file, environment variable or DAG parameter is not valid; the message names file and key."""

    exit_code = 2


class StoreNotPrepared(ConfigError):
    """The store does not exist, or has the schema of another release. ``keel migrate`` prepares it."""

    in_public = "Keel's store does not exist yet, or is of another release: run `keel migrate`"


class InvalidParameter(ConfigError):
    """A parameter that a person gave to a run is not valid. The message is shown in the run and sent to no one.

    Nothing was changed.
    """


class SampleRefused(InvalidParameter):
    """A receiver has not accepted a message that shows whether alerts arrive. Whoever sent it is shown why."""


class SchemaError(KeelError):
    """A table lacks a column that Keel needs, such as ids or times; the message names the column."""

    exit_code = 2


class GridMismatch(KeelError):
    """Counts of two different reference grids cannot be added or compared."""

    exit_code = 2


class InsufficientData(KeelError):
    """Too few rows for a reliable result."""

    def __init__(self, *, feature: str, needed: int, got: int, why: str = "") -> None:
        super().__init__(f"{feature}: needs at least {needed} rows, got {got}{why and f': {why}'}")
        self.feature, self.needed, self.got = feature, needed, got


class UnknownModel(KeelError):
    """No model of that name is configured; the message lists the configured ones."""

    exit_code = 2

    def __init__(self, model: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            f"no model named {model!r} is configured{suggestion(model, names)}; "
            f"configured: {', '.join(names) or 'none'}"
        )


class UnknownVersion(KeelError):
    """The registry has no such version or alias; the message lists those that exist."""

    exit_code = 2


class UnknownWindow(KeelError):
    """No check of the model has this window; the message names the nearest that have been checked."""

    exit_code = 2


class UnknownQuarantine(KeelError):
    """No quarantined interval lies within the given times; the message lists the quarantined ones."""

    exit_code = 2


class UnknownAlert(KeelError):
    """No alert has the given id, or several have; the message lists open ones."""

    exit_code = 2


class BadSilence(KeelError):
    """A silence would have no effect, no reason or no actor. Nothing was changed."""

    exit_code = 2


class UnknownSilence(KeelError):
    """No silence that lasts, or is planned, has the given id, or several have; the message lists them."""

    exit_code = 2


class NoProductionVersion(KeelError):
    """The model has no production version to check or serve; the message names the command that makes one."""

    exit_code = 2


class NoVersionYet(NoProductionVersion):
    """No version of the model was ever in production, so there is nothing to check; the message says how to get one."""


class StaleGeneration(KeelError):
    """Another process changed the deployment after it was read; read it again and decide again."""


class TrainingFailed(KeelError):
    """The model's own pipeline raised an error or returned an unusable result."""


class NotPromotable(KeelError):
    """The version may not be promoted, for instance because it was rejected; the message names the way out."""

    exit_code = 2


class NotApproved(KeelError):
    """The promotion needs a person's approval and has no valid one."""


class NothingToRollBackTo(KeelError):
    """The rollback has no version to return to; the message names the possible ones."""

    exit_code = 2


class ArtifactChanged(KeelError):
    """A version's artifacts differ from the registered ones, or no checksums are known; the version is not loaded."""


class LedgerBroken(KeelError):
    """A row of the ledger was changed, removed, moved or rewritten; the message names it."""


class BadRequest(KeelError):
    """A request is not valid; the message names the column, row or key. Nothing of the request is stored.

    Attributes
    ----------
    status : int
        HTTP status of the response.

    """

    exit_code = 2

    def __init__(self, message: str, *, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


class SpoolFull(KeelError):
    """The local spool has no space for another record, on its disk or within its configured limit."""

    exit_code = 3
    permanent = False


class SpoolFailed(KeelError):
    """The local spool cannot be read or written, or is closed; the message names the file and the system's error."""

    exit_code = 3
    permanent = False


class UnknownExperiment(KeelError):
    """No such experiment exists; the message lists those that do."""

    exit_code = 2


class ExperimentRefused(KeelError):
    """The experiment cannot be started or stopped as requested; the message gives the reason."""

    exit_code = 2


class Overloaded(KeelError):
    """The service's queue of rows is full; the same request can succeed later."""

    exit_code = 3
    permanent = False
    status = 503


class ScoringFailed(KeelError):
    """A version raised an error for the rows of a request, or returned an invalid result.

    Attributes
    ----------
    without_values : str
        The message for logs, without the version's own words, which can repeat a value of the request.

    """

    status = 500

    def __init__(self, message: str, *, without_values: str | None = None) -> None:
        super().__init__(message)
        self.without_values = without_values or message


class StoreDamaged(KeelError):
    """The stored data is inconsistent; the message names the place and what to do."""


class StoreUnavailable(KeelError):
    """The store cannot be reached or does not answer. A check that fails so is not an all clear."""

    exit_code = 3
    permanent = False
    in_public = "Keel's store cannot be reached, or does not answer"


class NoConnection(KeelError):
    """A channel of alerts has no connection; the message names the one that is missing and how to add it."""

    exit_code = 2


class ConnectionUnreadable(KeelError):
    """It is not known whether a connection exists, because what keeps it does not answer; a later try may succeed."""


class UnknownDelivery(KeelError):
    """No message to a recipient has this id, or it has arrived already."""

    exit_code = 2


class BacktestFailed(KeelError):
    """A policy of a backtest could not be run to its end. What it has done so far is kept."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RegistryRefused(KeelError):
    """The model registry refused a call, such as one about a run that another process is deleting."""

    exit_code = 3
    permanent = False


class RegistryUnavailable(KeelError):
    """The model registry cannot be reached or does not answer."""

    exit_code = 3
    permanent = False
    in_public = "MLflow cannot be reached, or does not answer"


_CREDENTIALS = re.compile(r"//[^/@]*(:[^@]*)?@")

LONGEST_NAME = 1_000
"""Longest word, in characters, that is compared with known ones; millions, which a client can send, take seconds."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with the word of ``known`` that is nearest, or an empty string.

    >>> suggestion("alhpa", ["alpha", "psi_warn"])
    "; did you mean 'alpha'?"
    """
    nearest = get_close_matches(word, list(known), n=1) if len(word) <= LONGEST_NAME else ()
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


LONGEST_PROBLEM = 300
"""Characters of an error in a message."""


def for_people(error: Exception) -> str:
    """Return an error for a message or a stored record. Only Keel's own errors are known to hold no secret.

    >>> for_people(OSError("ftp://keel:secret@example.com is away"))
    "OSError; the task's log says more"
    """
    if isinstance(error, KeelError):
        return str(error)[:LONGEST_PROBLEM]
    return f"{type(error).__name__}; the task's log says more"


def without_credentials(url: str) -> str:
    """Return a URL that is no database's without user name, password and query. A path stays as it is.

    >>> without_credentials("ftp://keel:secret@example.com/checkpoints?sig=1")
    'ftp://example.com/checkpoints'
    >>> without_credentials("s3://bucket/a@b.csv"), without_credentials("/srv/a?b@c")
    ('s3://bucket/a@b.csv', '/srv/a?b@c')
    """
    return _CREDENTIALS.sub("//", url, count=1).partition("?")[0] if "://" in url else url
