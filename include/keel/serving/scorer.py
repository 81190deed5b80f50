"""Scoring what waits: one thread takes the rows of all requests that have come, and asks each version once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.serving.answers import Answer
    from keel.serving.deployed import Served
    from keel.serving.inputs import Rows


class Scorer:
    """Answers requests of an event loop.

    max_waiting: how many rows may wait; more are refused.
    """

    def __init__(self, *, max_waiting: int = 100_000) -> None:
        self.max_waiting = max_waiting

    async def answer(self, rows: Rows, served: Served) -> Answer:
        """Return the answer to the rows of one request by the versions of ``served``.

        Raises
        ------
        Overloaded
            Too many rows wait (503, try again).
        ScoringFailed
            A version raised for these rows, or gave back what is no answer to them (500).

        """
        raise NotImplementedError

    def close(self) -> None:
        """End the thread when all that waits is answered."""
