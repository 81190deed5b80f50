"""The year of a model, its configuration, and what people are sent in it: for the simulations of alerts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from keel.alerts.records import Change, Message, News
from keel.config import Kind, ModelConfig

if TYPE_CHECKING:
    from keel.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
HISTORY = timedelta(days=40)
"""What the version is trained and measured on; the year of checks follows."""
BEGIN = START + HISTORY
DAY, STEP = timedelta(days=1), timedelta(hours=6)
YEAR = 1460
"""Checks of a year, four a day."""
ROWS_AN_HOUR = 20
STEEPNESS = 1.5
PIPELINE = "tests.support.pipelines.toy"
PEOPLE = {"email": ["ann@example.com", "bob@example.com"]}
PAGED = {"channel": "pagerduty", "to": "on_call", "severity": "error"}


@dataclass(frozen=True)
class Stretch:
    """Part of a year, as days from its begin."""

    first: float
    last: float

    def holds(self, day: float) -> bool:
        """Return whether a time lies in it."""
        return self.first <= day < self.last


@dataclass(frozen=True)
class World:
    """What happens in a year. In the null year nothing does."""

    season: float = 1.3
    """Largest shift of ``temp``, in half a year, in standard deviations."""
    price_from: float = 120
    price: float = 0.9
    """Shift of ``price`` for good."""
    wavers: Stretch = Stretch(150, 330)
    waver: float = 0.32
    """Mean shift of ``flicker`` then: the PSI of a week is about .1, its threshold, and on either side of it."""
    no_labels: Stretch = Stretch(240, 252)
    incident: Stretch = Stretch(300, 310)
    incident_steepness: float = -1.5
    """Of the relation of ``x`` and label then; at other times it is `STEEPNESS`."""

    @property
    def incident_begins(self) -> datetime:
        """When the relation of feature and label turns."""
        return BEGIN + self.incident.first * DAY

    def rows(self, start: datetime, end: datetime, seed: int = 0) -> pa.Table:
        """Return the rows of some hours. The same hours have the same rows, whatever is asked for at once."""
        hours = round((end - start) / timedelta(hours=1))
        parts = [self._hour(start + i * timedelta(hours=1), seed) for i in range(hours)]
        columns = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
        label = pa.array(columns.pop("label"), from_pandas=True)  # a label that is lost is not known
        times = pa.array(columns.pop("time"), pa.timestamp("us", "UTC"))
        return pa.table({"time": times, "label": label, **columns})

    def _hour(self, start: datetime, seed: int) -> dict[str, np.ndarray]:
        n = ROWS_AN_HOUR
        rng = np.random.default_rng([seed, int(start.timestamp())])
        day = (start - BEGIN) / DAY
        x = rng.normal(0, 1, n)
        steepness = self.incident_steepness if self.incident.holds(day) else STEEPNESS
        label = (rng.random(n) < 1 / (1 + np.exp(-steepness * x))).astype(float)
        seconds = (np.arange(n) * 3600 // n).astype("timedelta64[s]").astype("timedelta64[us]")
        return {
            "id": np.array([f"{start:%Y%m%dT%H}-{seed}-{i}" for i in range(n)]),
            "time": np.datetime64(start.replace(tzinfo=None), "us") + seconds,
            "label": np.full(n, np.nan) if self.no_labels.holds(day) else label,
            "x": x,
            "z": rng.exponential(1, n),
            "temp": rng.normal(self._season(day), 1, n),
            "price": rng.normal(self.price * (day >= self.price_from), 1, n),
            "flicker": rng.normal(self._waver(day, seed), 1, n),
            "colour": rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2]),
        }

    def _season(self, day: float) -> float:
        return self.season * np.sin(np.pi * day / 365) ** 2 if day > 0 else 0.0

    def _waver(self, day: float, seed: int) -> float:
        if not self.wavers.holds(day):
            return 0.0
        return self.waver + np.random.default_rng([seed, int(day)]).normal(0, 0.25)


NULL = World(season=0, price=0, waver=0, wavers=Stretch(0, 0), no_labels=Stretch(0, 0), incident=Stretch(0, 0))


def config_of(**alerts: object) -> ModelConfig:
    """Return the model's configuration: the defaults, for two people by mail and a pager."""
    return ModelConfig.model_validate(
        {
            "model": "shop",
            "owner": "benchmark",
            "target": {"name": "bought", "label_delay": "24h"},
            "features": {
                **dict.fromkeys(("x", "z", "temp", "price", "flicker"), "numeric"),
                "colour": "categorical",
            },
            "retrain": {"pipeline": PIPELINE, "window": "30d", "holdout": "10d", "min_rows": 200},
            "alerts": {**PEOPLE, "routes": [PAGED], **alerts},
        }
    )


@dataclass
class Year:
    """What a year of checks has led to."""

    checks: int = 0
    blocks: int = 0
    alarms: int = 0
    harm_from: datetime = BEGIN
    """When the incident begins; harm that chance shows before is none."""
    found: list[datetime] = field(default_factory=list)
    """Ends of the checks that found anything, each of which is a mail of a naive system."""
    harm_found: datetime | None = None
    """End of the first check that found the incident's harm."""
    harm_told: datetime | None = None
    """When people were sent that."""
    changes: dict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))
    """What people were told of each alert, in order."""
    messages: dict[str, Message] = field(default_factory=dict)
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Messages by channel and recipient."""

    @property
    def naive(self) -> int:
        """Mails that a naive system sends each person."""
        return len(self.found)

    def judge(self, end: datetime, statuses: Sequence[str], *, labels_missing: bool) -> None:
        """Note what the reports of a check say, each of which a naive system would tell."""
        if labels_missing or set(statuses) & {"warn", "drift", "broken", "degraded", "empty"}:
            self.found.append(end)
        if "degraded" in statuses and self.harm_found is None and end >= self.harm_from:
            self.harm_found = end

    def post(self, store: Store, end: datetime, message_id: str | None, news: Sequence[News]) -> None:
        """Note a message, if there is one, and who gets it."""
        if message_id is None:
            return
        self.messages[message_id] = Message.from_dict(store.outbox.message(message_id) or {})
        for row in store.outbox.deliveries(message_ids=[message_id]):
            self.sent[row["channel"], row["recipient"]] += 1
        for each in news:
            self.changes[each.alert.alert_id].append(each.change)
            is_harm = each.alert.kind is Kind.PERFORMANCE and each.change is not Change.RESOLVED
            if is_harm and end >= self.harm_from and self.harm_told is None:
                self.harm_told = end

    def lines(self) -> Iterator[str]:
        """Yield the result in words."""
        yield f"{self.checks} checks, {self.blocks} live blocks, {self.alarms} live alarms"
        yield f"a naive system sends each person {self.naive} mails"
        for (channel, recipient), number in sorted(self.sent.items()):
            yield f"{recipient} by {channel}: {number} messages (1/{self.naive / number:.0f})"
        yield f"harm found at {self.harm_found}, told at {self.harm_told}"
        for message in self.messages.values():
            yield f"  {message.at:%Y-%m-%d %H:%M} {message.topic:9} {message.severity:8} {message.subject}"
