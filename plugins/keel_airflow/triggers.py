"""The trigger that keeps the live monitors up to date, and rings for a check when one of them alarms.

All triggers of one triggerer share one stream: one poll of the store for all models, in a thread of its own, as the
triggerer is one event loop. The stream is in Airflow's acknowledging mode: a bell counts as rung only when its event is
in Airflow's database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow.triggers.shared_stream import SharedStreamProducer

    from keel_airflow.live_stream import Bell

STREAM = ("keel", "live")
"""The key of the stream that all triggers of a triggerer share."""

_watched: dict[int, str] = {}
"""The models whose triggers run in this process, by the identity of the trigger."""


class LiveDriftTrigger(BaseEventTrigger):
    """Rings when a live monitor of the model has opened an alarm, or an open one needs a check.

    The event is a bell and not a message: Airflow may drop it while a run is going, and anybody may forge it. What the
    monitors have found is in the store.

    :param model: name of the monitored model. It also keeps the triggers of two models apart: Airflow takes triggers
        of equal class and arguments for one.
    """

    def __init__(self, *, model: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments, from which a triggerer makes the trigger."""
        return "keel_airflow.triggers.LiveDriftTrigger", {"model": self.model}

    def shared_stream_key(self) -> tuple[str, ...]:
        """Return the key of the stream that all triggers share."""
        return STREAM

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the one poll of this process. ``kwargs``, those of the first trigger, are not used."""
        from keel_airflow.live_stream import LiveStream

        return LiveStream(lambda: set(_watched.values()))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Bell]) -> AsyncIterator[TriggerEvent]:
        """Turn this model's bells into events."""
        _watched[id(self)] = self.model
        async for bell in shared_stream:
            if bell.ring.model == self.model:
                bell.heard = True
                yield TriggerEvent(bell.ring.to_dict())  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll for this model alone, where a triggerer does not share streams."""
        from keel_airflow.live_stream import LiveStream

        stream = LiveStream(lambda: {self.model})
        try:
            async for bell, _ in stream.open_stream():
                bell.heard = True
                yield TriggerEvent(bell.ring.to_dict())  # type: ignore[no-untyped-call]
                stream.rung(bell, persisted=True)
        finally:
            await stream.aclose()

    async def cleanup(self) -> None:
        """Stop watching the model, when the trigger ends in whatever way."""
        _watched.pop(id(self), None)
