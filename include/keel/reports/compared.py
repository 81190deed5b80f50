"""Compare two versions' scores of the same rows in one call: `keel.compare`, and its result, which shows itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from keel.config import PromotionConfig
from keel.config.loading import validated
from keel.config.sections import METRICS_OF_KIND
from keel.errors import ConfigError, suggestion
from keel.evaluation.holdout.comparison import Comparison, Verdict, compare_versions, comparison_level
from keel.evaluation.holdout.flips import count_flips
from keel.evaluation.holdout.score_curves import describe_scores
from keel.evaluation.holdout.usable_rows import BINARY, MAX_EXCLUDED, UsableRows, usable_rows
from keel.monitoring.frames.periods import span_of, times_of
from keel.monitoring.frames.tables import MIN_ROWS, read_frame
from keel.monitoring.frames.targets import are_classes, are_probabilities, decisions, read_values
from keel.reports.rendered import Rendered
from keel.stats.metrics.losses import Scored
from keel.stats.metrics.paired import Clusters
from keel.values.columns import read_categories
from keel.values.scalars import shown

if TYPE_CHECKING:
    from datetime import datetime

    from keel.monitoring.frames.tables import Frame
    from keel.reports.page import Page
    from keel.stats.metrics.losses import Floats

SEGMENT_MIN_ROWS = 100
"""Rows that a segment needs for a bound."""
REMEDIES = {
    "no time, or one after the holdout's end": "no time",
    "lengthen retrain.holdout": "compare more rows",
    "raise promotion.segment_min_rows": "leave these segments out",
    "on this holdout": "on these rows",
    "the holdout's ": "the ",
}
"""The gate speaks of a model's holdout and policy; here there are rows."""


@dataclass(frozen=True, repr=False)
class ScoreComparison(Rendered):
    """Whether version b is shown to be better than version a, by the bound that promotions need.

    It is readable in a terminal and a page in a notebook. ``to_html``, ``to_markdown`` and ``to_dict`` give it as a
    file, a text and JSON values.
    """

    record: Mapping[str, Any]
    """As the gate stores a comparison."""

    @property
    def verdict(self) -> str:
        """``pass`` (b is shown to be better by more than the margin), ``fail`` or ``inconclusive``."""
        return str(self.record["verdict"])

    @property
    def improvement(self) -> float | None:
        """The improvement by b in units of the metric; positive is better. None where it is not defined."""
        value: float | None = self.record["improvement"]
        return value

    @property
    def lower_bound(self) -> float | None:
        """The one-sided lower confidence bound of the improvement; None where it is not defined."""
        value: float | None = self.record["lower_bound"]
        return value

    @property
    def sentence(self) -> str:
        """The verdict and its reason."""
        return str(self.record["sentence"])

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON values, without NaN or infinities."""
        return dict(self.record)

    def page(self) -> Page:
        """Return the comparison as the blocks of a page."""
        return self._page

    @cached_property
    def _page(self) -> Page:
        from keel.reports.comparison import page

        return page(self.record)


def compare(
    y: Any,
    a: Any,
    b: Any,
    *,
    metric: str | None = None,
    kind: Literal["binary", "regression"] | None = None,
    times: Any = None,
    segments: Mapping[str, Any] | None = None,
    margin: float = 0.0,
    segment_margin: float | None = None,
    alpha: float = 0.05,
    names: Sequence[str] = ("a", "b"),
    prior_comparisons: int = 0,
) -> ScoreComparison:
    """Compare the scores of version b with those of version a on the same labelled rows, which neither was trained on.

    Rows are paired by position. A row without a label, a time (if times are given) or a usable score of either version
    (None, NaN, infinite; for `brier` and `log_loss` outside [0, 1]) is excluded and counted. With more than 5% of them
    the verdict is ``inconclusive``: the others are not a random sample.

    Parameters
    ----------
    y, a, b
        Labels and both versions' scores, shape (n,): a list, a numpy array, a Series of pandas or polars, or an Arrow
        array. Labels are 0 and 1, with scores of class 1; or numbers, with predicted values.
    metric
        ``brier``, ``log_loss``, ``roc_auc`` or ``accuracy`` (of decisions from 0.5 on); ``mae`` or ``rmse``. By default
        ``brier`` for probabilities of 0 and 1, ``roc_auc`` for other scores of them, and ``mae`` for numbers.
    kind
        ``binary`` or ``regression``, where the labels do not say it.
    times
        Time of each row, UTC without a zone. The bound then allows rows of the same days to depend on each other.
        Without times rows count as independent, which is optimistic where they are not.
    segments
        Column → value of each row. The difference is shown within each value.
    margin
        The lower bound must exceed this, in units of the metric.
    segment_margin
        A segment with 100 rows or more must be shown to be worse by less than this; None: segments decide nothing.
    alpha
        Probability that all comparisons on these rows together let any b pass that is no better.
    names
        What a and b are called.
    prior_comparisons
        Number of comparisons that used these rows before. The level of this one is lower.

    Raises
    ------
    ConfigError
        The arrays are not of the same length or hold no numbers, or a parameter has a wrong value.

    >>> import keel
    >>> y = [0, 1] * 200
    >>> found = keel.compare(y, [0.4, 0.6] * 200, [0.3, 0.7] * 100 + [0.2, 0.8] * 100)
    >>> found.verdict, round(found.improvement, 3)
    ('pass', 0.095)

    """
    label, first, second = _read(y, a, b)
    metric, kind = _metric(metric, kind, label, first, second)
    of_a, of_b = (_scored(kind, label, scores) for scores in (first, second))
    moments = None if times is None else times_of(_frame(times, "times", len(label)), "times")
    columns = {str(name): _texts(values, str(name), len(label)) for name, values in (segments or {}).items()}
    decides = segment_margin is not None
    policy = validated(
        PromotionConfig,
        {
            "margin": _finite("margin", margin),
            "alpha": alpha,
            "min_rows": MIN_ROWS,
            "segments": tuple(columns),
            "segment_margin": _finite("segment_margin", segment_margin) if decides else 1e300,
            "segment_min_rows": SEGMENT_MIN_ROWS,
        },
        origin="keel.compare",
    )
    called = _names(names)
    found = _compared(metric, of_a, of_b, policy, moments, columns, _count(prior_comparisons), called)
    return ScoreComparison(_record(found, of_a, of_b, columns, moments, called, decides=decides))


def _compared(
    metric: str,
    a: Scored,
    b: Scored,
    policy: PromotionConfig,
    times: Any | None,
    columns: Mapping[str, Any],
    prior_comparisons: int,
    names: tuple[str, str],
) -> Comparison:
    """Compare on the usable rows; the excluded ones are counted in the words of this call."""
    at = np.full(len(a), np.datetime64(0, "us")) if times is None else times
    end = _end(times)
    found = usable_rows(metric, a, b, at, end)
    mask, said = found.mask, {**REMEDIES, "the champion": names[0], "the challenger": names[1]}
    excluded = {_in_other_words(reason, said): count for reason, count in found.excluded.items()}
    rows = UsableRows(mask, excluded, 0, found.newest if times is not None else None)
    if fault := _insufficiency(rows):
        level = comparison_level(policy.alpha, prior_comparisons)
        clusters = Clusters.rows(rows.n)
        return Comparison(
            Verdict.INCONCLUSIVE, f"inconclusive: {fault}", metric, rows, policy, level, prior_comparisons, clusters
        )
    compared = compare_versions(
        a.take(mask),
        b.take(mask),
        metric=metric,
        policy=policy,
        times=at[mask],
        segments={name: values[mask] for name, values in columns.items()},
        prior_comparisons=prior_comparisons,
        holdout_end=end,
    )
    return replace(compared, rows=rows, reason=_in_other_words(compared.reason, REMEDIES))


def _in_other_words(text: str, words: Mapping[str, str]) -> str:
    for gate, here in words.items():
        text = text.replace(gate, here)
    return text


def _insufficiency(rows: UsableRows) -> str:
    """Return why the rows do not suffice; empty where they do."""
    total, n = len(rows.mask), rows.n
    reasons = ", ".join(f"{count:,} with {reason}" for reason, count in rows.excluded.items())
    why = f" ({reasons})" if reasons else ""
    if n < MIN_ROWS:
        return f"there are {n:,} usable rows, and {MIN_ROWS} are needed{why}: compare more rows"
    if total - n > MAX_EXCLUDED * total:
        return (
            f"{total - n:,} of {total:,} rows are unusable, more than {MAX_EXCLUDED:.0%}{why}, so that the others are "
            "not a random sample: correct the data, or leave out rows for a reason that does not depend on a and b"
        )
    return ""


def _record(
    found: Comparison,
    a: Scored,
    b: Scored,
    columns: Mapping[str, Any],
    times: Any | None,
    names: tuple[str, str],
    *,
    decides: bool,
) -> dict[str, Any]:
    """Return what the page shows, as the gate would store it."""
    record, usable = found.to_dict(), found.rows.mask
    old, new = a.take(usable), b.take(usable)
    if found.metric not in BINARY:
        size = float(np.abs(old.prediction - old.label).mean()) if len(old) else 0.0
        record["flips"] = count_flips(old.prediction, new.prediction, _taken(columns, usable), size=size)
    elif are_probabilities(old.score, new.score):
        record["flips"] = count_flips(old.prediction, new.prediction, _taken(columns, usable))
    else:  # decisions and probabilities are not defined, whatever numbers they would give
        record["mcnemar"] = None
        record["extra_metrics"] = {}
    if not decides:
        record["segment_margin"] = None
        record["policy"] = {key: value for key, value in record["policy"].items() if key != "segment_margin"}
    if times is None:
        record["independence"] = "No times were given."
    elif span := span_of(times[usable]):
        record["holdout"] = {"start": span[0].isoformat(), "end": span[1].isoformat()}
    return {
        **record,
        "names": {"champion": names[0], "challenger": names[1]},
        "sentence": f"{names[1]} against {names[0]}: {found.reason}.",
        "score_curves": describe_scores(found.metric, old, new),
    }


def _taken(columns: Mapping[str, Any], mask: Any) -> dict[str, Any]:
    return {name: values[mask] for name, values in columns.items()}


def _read(y: Any, a: Any, b: Any) -> tuple[Floats, Floats, Floats]:
    frames = {name: _frame(values, name) for name, values in (("y", y), ("a", a), ("b", b))}
    sizes = {name: frame.n for name, frame in frames.items()}
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} has {n:,}" for name, n in sizes.items())
        raise ConfigError(f"{told}: pass the label and both scores of the same rows, in the same order")
    label, first, second = (_numbers(frame, name) for name, frame in frames.items())
    return label, first, second


def _frame(values: Any, name: str, n: int | None = None) -> Frame:
    """Read one column of any form."""
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise ConfigError(f"{name}: is a {type(values).__name__}; pass a list, an array or a Series of one dimension")
    if isinstance(values, pa.Array | pa.ChunkedArray):
        frame = read_frame(pa.table({name: values}), name)
    elif hasattr(values, "to_arrow"):  # a Series of polars
        frame = read_frame(pa.table({name: values.to_arrow()}), name)
    else:
        frame = read_frame({name: values}, name)
    if n is not None and frame.n != n:
        raise ConfigError(f"{name}: has {frame.n:,} values, and y has {n:,}: pass one for each row, in the same order")
    return frame


def _numbers(frame: Frame, name: str) -> Floats:
    return read_values(frame.column(name), f"{name}:", ": pass 0 and 1 for two classes, or values")


def _texts(values: Any, name: str, n: int) -> Any:
    """Return a segment's values as texts, None where one is missing."""
    found = read_categories(_frame(values, name, n).column(name))
    labels = np.array([*(text if isinstance(text, str) else None for text in found.labels), None], dtype=object)
    return labels[found.codes]


def _metric(
    metric: str | None, kind: str | None, label: Floats, a: Floats, b: Floats
) -> tuple[str, Literal["binary", "regression"]]:
    known = {name: of for of, all_of in METRICS_OF_KIND.items() for name in sorted(all_of)}
    if kind not in (None, *METRICS_OF_KIND):
        raise ConfigError(f"kind: {shown(kind)} is neither 'binary' nor 'regression'")
    if metric is not None:
        if metric not in known:
            raise ConfigError(
                f"metric: unknown metric {metric!r}{suggestion(str(metric), known)}; valid: {', '.join(known)}"
            )
        if kind not in (None, known[metric]):
            raise ConfigError(f"metric: {metric} is of a {known[metric]} target, and kind is {kind!r}")
        return metric, "binary" if known[metric] == "binary" else "regression"
    if kind == "regression" or (kind is None and not are_classes(label)):
        return "mae", "regression"
    return ("brier" if are_probabilities(a, b) else "roc_auc"), "binary"


def _scored(kind: str, label: Floats, scores: Floats) -> Scored:
    if kind == "regression":
        return Scored(label, np.full(len(label), np.nan), scores)
    return Scored(label, scores, decisions(scores))


def _end(times: Any | None) -> datetime:
    from datetime import UTC, datetime

    span = None if times is None else span_of(times)
    return span[1] if span else datetime(1970, 1, 1, tzinfo=UTC)


def _finite(name: str, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise ConfigError(f"{name}: {shown(value)} is no finite number; it is in units of the metric")
    return float(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise ConfigError(f"prior_comparisons: {shown(value)} is no number of comparisons; it is 0 or more")
    return int(value)


def _names(names: Sequence[str]) -> tuple[str, str]:
    if isinstance(names, str) or len(names) != 2 or len({str(name) for name in names}) != 2:
        raise ConfigError("names: takes two different texts, such as ('today', 'candidate')")
    if not all(str(name).strip() for name in names):
        raise ConfigError(f"names: {shown(tuple(names))} has an empty name: give both a text, such as 'today'")
    return str(names[0]), str(names[1])
