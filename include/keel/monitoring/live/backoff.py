"""Growing waits after failures in a row, at which of them people are told, and what."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from keel.errors import LONGEST_PROBLEM, KeelError

FIRST_WAIT = 10.0
"""Seconds after the first failure; each further wait is twice as long."""
LONGEST_WAIT = 600.0
_STILL_FAILING = (
    " New predictions and labels are not monitored until they work again. Nothing is lost; they try again by "
    f"themselves, at least every {LONGEST_WAIT / 60:.0f} minutes, and catch up."
)


class Backoff:
    """Failures in a row of something that is tried again and again.

    Parameters
    ----------
    told_after
        number of the failure at which people are told, and again at each doubling of it
    clock
        seconds of a clock that never goes back

    """

    def __init__(self, *, told_after: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.failures = 0
        self._told_after = told_after
        self._clock = clock
        self._retry_at = 0.0

    @property
    def waiting(self) -> bool:
        """Whether it is too early to try again."""
        return self.failures > 0 and self._clock() < self._retry_at

    def failed(self) -> bool:
        """Count a failure, and return whether people are told of it.

        >>> backoff = Backoff(told_after=3)
        >>> [n for n in range(1, 30) if backoff.failed()]
        [3, 6, 12, 24]
        """
        self.failures += 1
        self._retry_at = self._clock() + self.wait
        doublings, rest = divmod(self.failures, self._told_after)
        return rest == 0 and doublings & (doublings - 1) == 0

    @property
    def wait(self) -> float:
        """Seconds between the last failure and the next try.

        >>> backoff, waits = Backoff(told_after=3), []
        >>> for _ in range(8):
        ...     _ = backoff.failed()
        ...     waits.append(backoff.wait)
        >>> waits
        [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
        """
        return float(min(FIRST_WAIT * 2 ** min(self.failures - 1, 10), LONGEST_WAIT))

    def succeeded(self) -> bool:
        """Forget the failures, and return whether there were any."""
        failures, self.failures = self.failures, 0
        return failures > 0


def failure_sentence(model: str, failures: int, error: Exception) -> str:
    """Return what people are told of a model whose monitors fail."""
    named = str(error) if isinstance(error, KeelError) else f"{type(error).__name__}: see the triggerer's log"
    first, *more = named.split("\n")
    what = first[:LONGEST_PROBLEM].rstrip(".") + (f" (and {len(more)} more)" if more else "")
    return f"The live monitors of {model} failed {failures} times in a row. {what}.{_STILL_FAILING}"


def recovery_sentence(told: str, now: datetime) -> str | None:
    """Return what people are told in place of a `failure_sentence` once the monitors work again.

    None for any other sentence: a recovery is told once.
    """
    if not told.endswith(_STILL_FAILING):
        return None
    return (
        f"{told.removesuffix(_STILL_FAILING)} They work again since {now:%Y-%m-%d %H:%M} UTC, and catch up with the "
        "predictions and labels that have waited. Nothing is lost."
    )
