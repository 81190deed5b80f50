"""The body of a request: limits of its size and time, and whether the client waits for leave to send it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from keel.errors import BadRequest

if TYPE_CHECKING:
    from starlette.types import Message, Receive

MAX_DIGITS = 19
"""Digits of a length. The HTTP parser refuses longer ones, and Python cannot read numbers of thousands of digits."""


class LimitedBody:
    """A request's body, whose ``receive`` raises BadRequest as soon as it is too large (413) or too slow (408).

    max_bytes: of the whole body. seconds: from the creation to its end.
    """

    def __init__(
        self, headers: Sequence[tuple[bytes, bytes]], receive: Receive, max_bytes: int, seconds: float
    ) -> None:
        self._receive, self._max_bytes, self._seconds = receive, max_bytes, seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._size = self._stated_size = 0
        self._waits = self._asked = False
        self._more = True
        for name, value in headers:
            if name == b"content-length":
                digits = value.strip().lstrip(b"0")  # any number of zeros may precede it
                self._stated_size = int(digits) if digits.isdigit() and len(digits) <= MAX_DIGITS else 0
            elif name == b"expect":
                self._waits = value.lower() == b"100-continue"

    @property
    def may_never_come(self) -> bool:
        """Whether the client asked for leave to send the body and got none.

        It may then send the body or another request (RFC 9110, 10.1.1), and nobody can tell one from the other.
        """
        return self._waits and not self._asked

    async def receive(self) -> Message:
        """Return the next part of the body, as ASGI's ``receive``."""
        self._asked = True
        if not self._more:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise BadRequest(
                f"the body did not arrive within {self._seconds:g} s: send fewer rows per request, or raise "
                "KEEL_SERVING_RECEIVE",
                status=408,
            ) from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._more = message.get("more_body", False)
            if max(self._size, self._stated_size) > self._max_bytes:
                await self._discard(message)
                raise BadRequest(
                    f"the body is larger than {self._max_bytes:,} bytes: send fewer rows per request, or raise "
                    "KEEL_SERVING_MAX_BODY",
                    status=413,
                )
        return message

    async def _discard(self, message: Message) -> None:
        """Read on for a while: a client that is cut off while it sends sees a broken connection, not the response."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline):
                while message["type"] == "http.request" and message.get("more_body") and size <= self._max_bytes:
                    message = await self._receive()
                    size += len(message.get("body", b""))
