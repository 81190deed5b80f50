"""The plan of a backtest: model, span, steps and policies."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, datetime, timedelta
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING

from keel.config.loading import parse_duration, shown_duration
from keel.errors import ConfigError
from keel.training.provenance import digest_of
from keel.training.training import retrain_plan, training_recipe
from keel.window import HOUR, floor_hour, parse_time

if TYPE_CHECKING:
    from keel.backtest.policies import Policy
    from keel.config import ModelConfig, RetrainConfig

MONTH = "month"
FORMAT = 1
"""Of what a backtest writes. It is part of a backtest's id, so that no release reads what another one wrote."""
MAX_STEPS = 10_000


@dataclass(frozen=True)
class Plan:
    """What is replayed, how often it is checked, and under which policies."""

    config: ModelConfig
    start: datetime
    end: datetime
    every: timedelta | None
    """Length of a step; None: a calendar month."""
    policies: tuple[Policy, ...]

    @classmethod
    def of(cls, config: ModelConfig, *, start: str, end: str, every: str, policies: Sequence[Policy]) -> Plan:
        """Return a plan from the texts of a command line.

        Raises
        ------
        ConfigError
            A time or a length is not valid, the span is empty or shorter than a step, a setting of a policy is not
            valid, or the model has no section ``retrain``.

        """
        retrain_plan(config)
        since, until = _full_hour("--start", start), _full_hour("--end", end)
        if since >= until:
            raise ConfigError(f"--start {start} must be before --end {end}")
        plan = cls(config, since, until, _length(every), tuple(policies))
        _ = plan.configs
        if plan._length_of_span < 1:
            raise ConfigError(f"--every {every}: longer than the span from {start} to {end}")
        if plan._length_of_span > MAX_STEPS:
            raise ConfigError(f"--every {every}: more than {MAX_STEPS:,} steps from {start} to {end}")
        try:
            _ = plan.history_start, plan.steps
        except (OverflowError, ValueError):  # of datetime
            raise ConfigError(
                f"--start {start}, --end {end}: the history before the start and the last step must lie in the years "
                f"{MINYEAR} to {MAXYEAR}; choose a span further from their ends"
            ) from None
        return plan

    @property
    def _length_of_span(self) -> float:
        """In steps; between 0 and 1 where a step is longer than the span."""
        if self.every is not None:
            return (self.end - self.start) / self.every
        months = (self.end.year - self.start.year) * 12 + self.end.month - self.start.month
        return months if months > 1 or self.following(months) <= self.end else months - 1

    def following(self, number: int) -> datetime:
        """Return the time ``number`` steps after the start."""
        if self.every is not None:
            return self.start + number * self.every
        months = self.start.month - 1 + number
        year, month = self.start.year + months // 12, months % 12 + 1
        day = min(self.start.day, calendar.monthrange(year, month)[1])
        return self.start.replace(year=year, month=month, day=day)

    @cached_property
    def steps(self) -> tuple[tuple[datetime, datetime], ...]:
        """The intervals, one after the other. The last one ends with the span and may be shorter."""
        times = [self.start]
        while times[-1] < self.end:
            times.append(min(self.following(len(times)), self.end))
        return tuple(pairwise(times))

    @cached_property
    def configs(self) -> dict[str, ModelConfig]:
        """The model's configuration under each policy, by name."""
        return {policy.name: policy.configure(self.config) for policy in self.policies}

    @property
    def history_start(self) -> datetime:
        """When the oldest row is that a training of any policy reads."""
        spans = [config.target.label_delay + plan.holdout + plan.window for config, plan in self._trainings()]
        return floor_hour(self.start - max(spans))

    @property
    def shown_every(self) -> str:
        """The length of a step as text."""
        return MONTH if self.every is None else shown_duration(self.every)

    def identity(self, past: str) -> str:
        """Return the digest of everything that all policies share: two backtests with the same one can share results.

        past: the digest of the past.
        """
        parts = (self.start.isoformat(), self.end.isoformat(), self.shown_every, training_recipe(self.config), past)
        releases = version("keel"), version("scikit-learn")
        return digest_of(str(FORMAT), *releases, self.config.model_dump_json(), *parts)[:12]

    def policy_identity(self, policy: Policy) -> str:
        """Return the digest of a policy: its settings, and how it trains."""
        config = self.configs[policy.name]
        return digest_of(config.model_dump_json(), training_recipe(config), policy.when, str(policy.gate))[:8]

    def _trainings(self) -> list[tuple[ModelConfig, RetrainConfig]]:
        configs = (self.config, *self.configs.values())
        return [(config, retrain_plan(config)) for config in configs]


def _full_hour(option: str, text: str) -> datetime:
    time = parse_time(text)
    if time is None or time != floor_hour(time):
        raise ConfigError(f"{option} {text!r}: must be a full hour, because counts are hourly, such as 2013-04-01")
    return time


def _length(text: str) -> timedelta | None:
    if text == MONTH:
        return None
    try:
        length = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--every {text!r}: {error}, or {MONTH}") from None
    assert isinstance(length, timedelta)
    if length < HOUR or length % HOUR:
        raise ConfigError(f"--every {text}: must be a number of full hours, because counts are hourly")
    return length
