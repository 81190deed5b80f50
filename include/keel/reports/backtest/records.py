"""The result of a backtest as plain records: what each policy did at each step, and how its predictions turned out."""

from __future__ import annotations

from keel.monitoring.records import JsonObject, Record, Time


class BacktestComparison(Record):
    """A challenger that a policy trained, beside the champion."""

    champion: int | None
    challenger: int
    verdict: str
    """``pass``, ``fail`` or ``inconclusive``."""
    improvement: float | None = None
    """Of the challenger, in units of the metric; positive is better. None where nothing was compared."""
    lower_bound: float | None = None
    margin: float | None = None
    n: int = 0
    forced: bool = False
    """Whether the policy promotes whatever the comparison shows."""
    sentence: str


class BacktestStep(Record):
    """One step of a policy: the interval, the check at its end, and what followed."""

    start: Time
    end: Time
    version: int
    """The version that predicted in the interval."""
    rows: int
    labels: int
    """Labels observed in the interval."""
    action: str
    """Of the check: ``all_clear``, ``raise_alert``, ``quarantine`` or ``retrain``."""
    sentence: str
    quality: str
    drift: str
    performance: str
    drifted: tuple[str, ...] = ()
    probation: str = ""
    """What the evaluation of a version on probation led to; empty where it led to nothing."""
    comparison: BacktestComparison | None = None
    promoted: int | None = None
    rolled_back: int | None = None
    """The version that was rolled back."""
    production: int
    """After the step."""
    trained: bool = False
    """Whether a version was trained; a training whose rows were trained before gives the same version again."""
    failure: str = ""
    """Why a training failed."""
    messages: int = 0
    """Notifications that people would have got."""


class BacktestEstimate(Record):
    """A metric with its 95 % interval, by day-clustered errors. None where it is not defined."""

    value: float | None
    lower: float | None = None
    upper: float | None = None
    n: int


class BacktestDifference(Record):
    """How much better a policy did than another one on the same rows, in units of the metric; positive is better."""

    against: str
    value: float | None
    lower: float | None
    upper: float | None
    n: int
    clusters: JsonObject
    """The unit of the errors' clusters, and their number."""


class BacktestCounts(Record):
    """How often a policy did what."""

    steps: int
    alerts: int
    """Checks that raised an alert, quarantined data or decided to retrain."""
    messages: int
    trainings: int
    failed_trainings: int
    promotions: int
    unproven: int
    """Promotions without a passed comparison."""
    rollbacks: int


class BacktestPolicy(Record):
    """What one policy did, and how its predictions turned out."""

    name: str
    option: str
    """What ``--policy`` of the command takes for it."""
    description: str
    steps: tuple[BacktestStep, ...]
    intervals: tuple[BacktestEstimate, ...]
    """The metric on the predictions of each step, with all labels that are known today."""
    metrics: dict[str, BacktestEstimate]
    """Over the whole span."""
    counts: BacktestCounts
    differences: tuple[BacktestDifference, ...] = ()


class BacktestResult(Record):
    """Several policies on the same past."""

    backtest_id: str
    model: str
    metric: str
    higher_is_better: bool
    start: Time
    end: Time
    every: str
    source: str
    """Where the past was read from, in words."""
    source_option: str = "auto"
    """What ``--source`` of the command takes for it."""
    predictions: int
    labelled: int
    first_version: str
    """A sentence about the version that every policy begins with."""
    policies: tuple[BacktestPolicy, ...]
    notes: tuple[str, ...] = ()
    """What a backtest assumes."""
    release: str
