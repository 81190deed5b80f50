"""Reading a request: MLflow's scoring protocol (four JSON forms and CSV), and Keel's own key beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keel.serving.inputs import Inputs, Rows

Clock = Callable[[int], int]
"""Gives the first of so many consecutive microseconds, UTC, none of which it has given before."""


def parse(body: bytes, content_type: str | None, inputs: Inputs, *, clock: Clock) -> Rows:
    """Return the rows of a request; nothing of it is kept if anything about it is wrong.

    Raises
    ------
    BadRequest
        400 malformed; 413 more rows than ``serving.max_rows``; 415 another content type or character set; 422 columns,
        values, ids, times or entities that do not fit. The message names the column and row, or the key.

    """
    raise NotImplementedError
