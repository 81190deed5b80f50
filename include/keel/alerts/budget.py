"""The alert budget: how many messages a month chance alone may cause a person, and what was spent.

A check measures and decides at the error rates of its own sections, such as ``drift.alpha``. To tell *people*, a
finding must be surer: its adjusted p-value must reach the level of this module, which follows from the budgets of the
people who are told, the models of which they are told, and how often each is checked: by its schedule, or by what the
store has recorded, if that is more.

The promise adds expectations, which holds whatever depends on what. In one check each family of tests is adjusted for
its columns, so that where nothing has changed, anything in it reaches level a with probability at most a. An alert that
chance raises has at least one such check, and costs a message that it fires and one that it is over. So a person's
messages in 30 days are at most Σ (checks × families × messages each × a) over the models, and those of the live
monitors' alarms, which have an error rate of their own. The level is what makes that sum the budget. Half of it is for
harm, of which people have to know first: the test of performance has a level of its own, and so has harm in all labels
of a version, which takes a tenth of the budget at most, however many models share it.

Not in the promise is what chance does not cause: promotions and rollbacks, broken runs, overdue checks, absent columns,
channels that fail. Not in it either, and stated by `keel backtest`, is what follows from a retraining.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from keel.alerts.records import CHECK
from keel.config import Channel, Kind, ModelConfig, Severity
from keel.monitoring.live.promise import UNKNOWN_BLOCKS

if TYPE_CHECKING:
    from keel.store import Store

DAY = timedelta(days=1)
MONTH = timedelta(days=30)
YEAR = timedelta(days=365.25)
MESSAGES_EACH = 2
"""Messages of a false alert: that it fires, and that it is over."""
PERIOD = timedelta(days=1461)
"""Four years, after which nearly every schedule repeats."""
ROUNDING = 1e-9

HARM_SHARE = 0.5
"""Of the budget, for the test of performance. The rest is for all families."""
LONG_RUN_SHARE = 0.1
"""Of the budget, at most, for harm in all labels of a version. What it does not need is left for the others."""
FAMILIES: tuple[frozenset[Kind], ...] = (
    frozenset({Kind.DATA_DRIFT, Kind.PREDICTION_DRIFT}),
    frozenset({Kind.DATA_QUALITY}),
    frozenset({Kind.LABEL_QUALITY}),
    frozenset({Kind.NO_PREDICTIONS}),
)
"""Tests of one check beside that of performance, by the kinds of alert that they raise. Each family is adjusted."""
PREVIOUS = frozenset({Kind.DATA_DRIFT})
"""The family of ``drift.against: previous``."""


class Recorded(NamedTuple):
    """Checks of a model that were recorded lately, of windows that end at different times."""

    day: int = 0
    month: int = 0
    """In 30 days."""


NOTHING_RECORDED: Mapping[str, Recorded] = {}


@dataclass(frozen=True)
class ModelBudget:
    """What one model may spend of a person's budget. Numbers are for 30 days."""

    model: str
    looks: float
    """Checks: the larger of those by its schedule and those that were recorded (`looks_of`)."""
    families: int
    """Families of tests in a check whose findings this person is told, without that of performance."""
    tells_harm: bool
    """Whether this person is told of performance."""
    messages_each: float
    """Messages of one false alert: two, and more where errors are told again."""
    live_alarms: float
    """False alarms of its live monitors that are expected at most."""
    long_run_alpha: float
    """The level of all labels of a version, at which a check decides; for one version a month."""

    @property
    def cost(self) -> float:
        """Messages for each unit of the level."""
        return self.looks * self.families * self.messages_each

    @property
    def harm_cost(self) -> float:
        """Messages for each unit of the level of performance."""
        return self.looks * self.tells_harm * self.messages_each

    @property
    def long_run_cost(self) -> float:
        """Messages for each unit of the level of all labels."""
        return self.tells_harm * self.messages_each

    @property
    def fixed(self) -> float:
        """Messages that the levels do not change."""
        return self.live_alarms * self.messages_each


@dataclass(frozen=True)
class PersonBudget:
    """The promise to one person, who is a recipient of a channel. Numbers are for 30 days."""

    channel: Channel
    recipient: str
    budget: float
    """Messages that chance alone may cause: the smallest budget of the models of which the person is told."""
    models: tuple[ModelBudget, ...]

    @property
    def level(self) -> float:
        """The adjusted p-value that a finding must reach, in [0, 1]; 0 where nothing of the budget is left for it."""
        share = 1 - HARM_SHARE if self._harm_cost else 1.0
        return self._level(share, sum(each.cost for each in self.models))

    @property
    def harm_level(self) -> float:
        """The p-value that harm in a window must reach."""
        share = HARM_SHARE if any(each.cost for each in self.models) else 1.0
        return self._level(share, self._harm_cost)

    @property
    def long_run_level(self) -> float:
        """The level at which all labels of a version must show harm."""
        return _share(LONG_RUN_SHARE * self._unfixed, sum(each.long_run_cost for each in self.models))

    @property
    def _harm_cost(self) -> float:
        return sum(each.harm_cost for each in self.models)

    @property
    def _unfixed(self) -> float:
        return self.budget - sum(each.fixed for each in self.models)

    def _level(self, share: float, cost: float) -> float:
        level = self.long_run_level
        long_run = sum(each.long_run_cost * min(each.long_run_alpha, level) for each in self.models)
        return _share(share * (self._unfixed - long_run), cost)


@dataclass(frozen=True)
class Promise:
    """What people can rely on, by person and by model."""

    people: tuple[PersonBudget, ...]
    levels: dict[str, float]
    """By model, the adjusted p-value that a finding must reach to be told."""
    harm_levels: dict[str, float]
    """By model, the p-value that harm in a window must reach to be told."""
    long_run_levels: dict[str, float]
    """By model, the level at which all labels of a version must show harm for it to be told."""

    def expected(self, person: PersonBudget) -> float:
        """Return the messages in 30 days that a person has to expect at most, when nothing is wrong."""
        return sum(
            each.fixed
            + each.cost * self.levels[each.model]
            + each.harm_cost * self.harm_levels[each.model]
            + each.long_run_cost * self.long_run_levels[each.model]
            for each in person.models
        )

    def is_kept(self, person: PersonBudget) -> bool:
        """Return whether that is within the budget. Live monitors alone can exceed a very small one."""
        return self.expected(person) <= person.budget * (1 + ROUNDING)


@dataclass(frozen=True)
class Spent:
    """What one person was sent."""

    channel: Channel
    recipient: str
    messages: int
    by_kind: dict[str, int]
    """Messages by the kind of what stands first in them, such as ``data_drift``; else by their topic."""


class Levels(NamedTuple):
    """What a finding of a model must reach so that people are told."""

    level: float
    """The adjusted p-value of a finding."""
    harm: float
    """The p-value of harm in a window."""
    long_run: float
    """The level of harm in all labels of a version."""


def alert_levels(
    config: ModelConfig, configs: Collection[ModelConfig], recorded: Mapping[str, Recorded] = NOTHING_RECORDED
) -> Levels:
    """Return the p-values that statistical findings of a model must reach so that people are told.

    configs: every valid model, as people share their budget among all models of which they are told. ``config`` counts
    in place of the one with its name. recorded: the checks of models lately (`recorded_looks`), with the one in hand.

    What is measured and decided keeps ``drift.alpha`` and ``performance.alpha``; the levels are never above them.
    """
    made = promise([config, *(each for each in configs if each.model != config.model)], recorded)
    return Levels(*(each[config.model] for each in (made.levels, made.harm_levels, made.long_run_levels)))


def promise(configs: Collection[ModelConfig], recorded: Mapping[str, Recorded] = NOTHING_RECORDED) -> Promise:
    """Return what each person can rely on, in the order of channel and recipient."""
    told: dict[tuple[Channel, str], list[tuple[ModelConfig, frozenset[Kind]]]] = defaultdict(list)
    for config in configs:
        for person, kinds in _people(config).items():
            told[person].append((config, kinds))
    people = tuple(
        PersonBudget(
            channel=channel,
            recipient=recipient,
            budget=min(config.alerts.budget for config, _ in models),
            models=tuple(
                _model_budget(config, kinds, recorded.get(config.model, Recorded()))
                for config, kinds in sorted(models, key=lambda each: each[0].model)
            ),
        )
        for (channel, recipient), models in sorted(told.items())
    )
    levels = {config.model: config.drift.alpha for config in configs}
    harm_levels = {config.model: config.performance.alpha for config in configs}
    long_run_levels = dict(harm_levels)
    for each in people:
        for model in each.models:
            if model.families:
                levels[model.model] = min(levels[model.model], each.level)
            if model.tells_harm:
                harm_levels[model.model] = min(harm_levels[model.model], each.harm_level)
                long_run_levels[model.model] = min(long_run_levels[model.model], each.long_run_level)
    return Promise(people, levels, harm_levels, long_run_levels)


def spent(store: Store, configs: Iterable[ModelConfig], *, since: datetime, until: datetime) -> tuple[Spent, ...]:
    """Return what each person was sent at since ≤ time < until, by the clock, whoever is named in the configuration.

    A message that has not been accepted by its receiver is not counted; one to several people counts for each.
    """
    messages = {each["message_id"]: each for each in store.outbox.messages(since=since, until=until)}
    found: dict[tuple[Channel, str], Counter[str]] = {person: Counter() for each in configs for person in _people(each)}
    for row in store.outbox.deliveries(message_ids=messages.keys(), state="sent"):
        person = row["channel"], row["recipient"]
        found.setdefault(person, Counter())[_kind_of(messages[row["message_id"]])] += 1
    return tuple(
        Spent(channel, recipient, counts.total(), dict(counts.most_common()))
        for (channel, recipient), counts in sorted(found.items())
    )


def recorded_looks(store: Store, until: datetime, *, checking: str | None = None) -> dict[str, Recorded]:
    """Return the checks of every model in the day and the 30 days until a time, by the time of their data.

    checking: the model whose check of the window that ends then is in hand, and counts too.
    """
    day, month = (store.alerts.looks(CHECK, since=until - span, until=until) for span in (DAY, MONTH))
    if checking is not None:
        day, month = ({**found, checking: found.get(checking, 0) + 1} for found in (day, month))
    return {model: Recorded(day.get(model, 0), number) for model, number in month.items()}


def looks_of(config: ModelConfig, recorded: Recorded) -> float:
    """Return the checks of a model in 30 days: those by its schedule, or those that were recorded if that is more.

    A day with more checks than the schedule has on any day stands for all 30: something else starts checks too, and
    would be known by the last 30 days alone only when most of them are over.
    """
    schedule = config.check.schedule
    daily = recorded.day * (MONTH / DAY) if recorded.day > _busiest_day(schedule) else 0.0
    return max(looks(schedule), float(recorded.month), daily)


@lru_cache
def _busiest_day(schedule: str | None) -> int:
    """Return the checks of a day on which a schedule starts any."""
    from croniter import croniter

    if schedule is None:
        return 0
    minutes, hours, *_ = croniter.expand(schedule)[0]
    return (60 if minutes == ["*"] else len(minutes)) * (24 if hours == ["*"] else len(hours))


@lru_cache
def looks(schedule: str | None) -> float:
    """Return how often a cron schedule starts a check in 30 days, on average; 0 without a schedule.

    >>> looks("0 */6 * * *"), looks("*/15 8-17 * * *"), looks(None)
    (120.0, 1200.0, 0.0)
    """
    from croniter import CroniterError, croniter  # a second of imports, which other commands need not wait for

    if schedule is None:
        return 0.0
    a_day = _busiest_day(schedule)
    days = schedule.split()[2:]
    if days == ["*", "*", "*"]:
        return float(a_day * (MONTH / timedelta(days=1)))
    start = datetime(2023, 12, 31, tzinfo=UTC)  # four years follow, of which one is a leap year
    try:
        times: Iterator[datetime] = croniter(f"0 0 {' '.join(days)}", start, ret_type=datetime)
        count = sum(1 for _ in takewhile(lambda day: day <= start + PERIOD, times))
    except CroniterError:  # a day that does not come, such as 30 February
        return 0.0
    return float(a_day * count * (MONTH / PERIOD))


def _share(messages: float, cost: float) -> float:
    """Return the level that costs so many messages, in [0, 1]."""
    return min(1.0, max(0.0, messages / cost)) if cost else 1.0


def _people(config: ModelConfig) -> dict[tuple[Channel, str], frozenset[Kind]]:
    """Return the kinds that each recipient of a model is told. What is critical is no test's finding."""
    found: dict[tuple[Channel, str], frozenset[Kind]] = {}
    for route in config.alerts.all_routes():
        kinds = frozenset(route.kinds or Kind)
        kinds = frozenset() if route.severity is Severity.CRITICAL else kinds
        for recipient in route.to:
            person = route.channel, recipient
            found[person] = found.get(person, frozenset()) | kinds
    return found


def _model_budget(config: ModelConfig, kinds: frozenset[Kind], recorded: Recorded) -> ModelBudget:
    families = [*FAMILIES, *([PREVIOUS] if "previous" in config.drift.against else [])]
    tells_harm = Kind.PERFORMANCE in kinds
    return ModelBudget(
        model=config.model,
        looks=looks_of(config, recorded),
        families=sum(bool(family & kinds) for family in families),
        tells_harm=tells_harm,
        messages_each=_messages_each(config, recorded),
        live_alarms=_live_alarms(config) if Kind.LIVE_ALARM in kinds or tells_harm else 0.0,
        long_run_alpha=config.performance.alpha,
    )


def _messages_each(config: ModelConfig, recorded: Recorded) -> float:
    """Return the messages of a false alert. One that is told again lasts for a window, and until it is over."""
    remind = config.alerts.remind
    if remind is None:
        return MESSAGES_EACH
    rate = looks(config.check.schedule) or looks_of(config, recorded)
    step = MONTH / rate if rate else timedelta(0)
    return MESSAGES_EACH + (config.check.lookback + config.alerts.resolve_after * step) / remind


def _live_alarms(config: ModelConfig) -> float:
    """Return the false alarms that are expected at most in 30 days.

    The evidence of a monitor less the number of its blocks is a supermartingale. Therefore the *number* of alarms in a
    year is at most ``alpha`` in expectation, and not only the probability of one. An average run length is one of
    blocks, of which the configuration does not say how many a year has: `UNKNOWN_BLOCKS` are supposed.
    """
    live = config.live
    if live is None:
        return 0.0
    yearly = live.alpha if live.average_run_length is None else UNKNOWN_BLOCKS / live.average_run_length
    return yearly * (MONTH / YEAR)


def _kind_of(message: dict[str, object]) -> str:
    lines = message.get("alerts")
    if isinstance(lines, list) and lines and isinstance(lines[0], dict):
        return str(lines[0].get("kind"))
    return str(message.get("topic"))
