"""The audit sample: its share, its independence, and the list for people."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from keel.errors import ConfigError
from keel.evaluation.experiment.plan import Plan, Stage, assign_many
from keel.monitoring.live.audit_sample import audited, is_audited
from tests.support.store_fixtures import FEATURES, NOON, batch, labels
from tests.support.toy import toy_config

if TYPE_CHECKING:
    from keel.store import Store

N = 40_000
IDS = [f"flight {i}" for i in range(N)]


def close(share: float, expected: float, n: int) -> bool:
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_audit_sample_has_its_share_and_a_larger_one_contains_it(share: float) -> None:
    sample = is_audited("toy", IDS, share)
    assert close(sample.mean(), share, N)
    assert (is_audited("toy", IDS, share * 1.5) >= sample).all()


def test_audit_sample_is_the_same_each_time_and_another_for_another_model() -> None:
    sample = is_audited("toy", IDS, 0.5)
    assert (is_audited("toy", IDS[::-1], 0.5)[::-1] == sample).all()
    assert close((is_audited("other", IDS, 0.5) == sample).mean(), 0.5, N)


def test_audit_sample_is_independent_of_the_arm_and_the_score() -> None:
    plan = Plan(
        "e1", "toy", 1, 2, "ab", (Stage(0.5),), "salt", "brier", 0.0, 0.05, 10_000, datetime(2026, 1, 1, tzinfo=UTC)
    )
    arms, _ = assign_many(plan, IDS, np.full(N, np.datetime64("2026-01-02", "us")))
    sample = is_audited("toy", IDS, 0.2)
    score = np.random.default_rng(1).random(N)
    assert close(sample[arms].mean(), 0.2, int(arms.sum()))
    assert close(sample[~arms].mean(), 0.2, int((~arms).sum()))
    assert abs(np.corrcoef(sample, score)[0, 1]) < 4 / math.sqrt(N)
    neighbours = np.corrcoef(sample[:-1], sample[1:])[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(N)


def test_audited_lists_the_predictions_of_the_sample_that_have_no_label_yet(store: Store) -> None:
    config = toy_config(labels={"audit_share": 0.2, "audit_delay": "1h"})
    log = store.predictions("toy", FEATURES)
    log.append(batch(range(300), step=timedelta(minutes=10), entity=["N1"] * 300))
    sample = [f"p{i}" for i in np.flatnonzero(is_audited("toy", [f"p{i}" for i in range(300)], 0.2))]
    log.add_labels(labels({sample[0]: 1.0}))
    ws = SimpleNamespace(predictions=lambda config: log)
    found = audited(ws, config, since=NOON, until=NOON + timedelta(days=3))  # type: ignore[arg-type]
    assert found.column_names == ["id", "time", "version", "entity", "label"]
    assert found["id"].to_pylist() == sample[1:]
    assert (set(found["entity"].to_pylist()), found["label"].null_count) == ({"N1"}, len(sample) - 1)
    half = audited(ws, config, since=NOON, until=NOON + timedelta(hours=25))  # type: ignore[arg-type]
    assert half["id"].to_pylist() == [each for each in sample[1:] if int(each[1:]) < 150]


def test_audited_without_a_share_says_which_key_to_set() -> None:
    with pytest.raises(ConfigError, match=r"toy: no predictions are audited. Set labels\.audit_share"):
        audited(SimpleNamespace(), toy_config(), since=NOON, until=NOON)  # type: ignore[arg-type]
