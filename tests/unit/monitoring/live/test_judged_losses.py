"""What the harm monitor tolerates after a check has judged its alarm: a loss that was real, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from keel.monitoring.alarms import Verdict
from keel.monitoring.live.state import SavedState
from keel.store.quarantines import LABELS
from tests.support.live.models import MINUTE, LiveModel

if TYPE_CHECKING:
    from datetime import datetime

    from keel.monitoring.records import LiveAlarm
    from keel.store import Store
    from tests.support.versions.cloned import Trained

LIVE = {"context": None, "columns": ["x"]}
AT_ONCE = {"name": "bought", "label_delay": "0s"}


@pytest.fixture
def model(trained: Trained, sqlite_store: Store) -> LiveModel:
    """A model whose labels are there with the next prediction."""
    return LiveModel.new(trained, sqlite_store, live=LIVE, target=AT_ONCE)


def traffic(model: LiveModel, n: int, *, flipped: float = 0.0) -> tuple[datetime, tuple[LiveAlarm, ...]]:
    """Let labelled predictions arrive, a share of them with the opposite label. Returns since when, and the alarms."""
    began = model.now
    rows = model.arrive(n)
    rng = np.random.default_rng([2, n])
    true = rng.random(n) < rows["score"].to_numpy()
    model.label(rows, (true ^ (rng.random(n) < flipped)).astype(float))
    return began, model.catch_up().opened


def limit(model: LiveModel) -> float:
    state = model.stored.state
    assert state is not None
    return float(SavedState.from_bytes(state).groups["harm"]["numbers"][0])


def inverted(model: LiveModel, verdict: Verdict) -> None:
    """Let labels be inverted for a day, until a check has quarantined them and judged the alarm."""
    traffic(model, 1_500)
    began, [alarm] = traffic(model, 1_500, flipped=1.0)
    assert alarm.kind == "harm"
    model.ws.store.quarantine("trained", began, model.now, "inverted", model.now, about=LABELS)
    model.judge(alarm, verdict=verdict)
    model.catch_up()


@pytest.mark.parametrize("verdict", [Verdict.EXPLAINED, Verdict.OBSOLETE])
def test_loss_on_broken_labels_does_not_hide_a_true_one(model: LiveModel, verdict: Verdict) -> None:
    traffic(model, 100)
    before = limit(model)
    inverted(model, verdict)
    assert traffic(model, 1_000)[1] == ()
    assert limit(model) == before
    began, [alarm] = traffic(model, 1_000, flipped=0.5)
    assert began - 200 * MINUTE < alarm.since < began + 300 * MINUTE


@pytest.mark.parametrize("verdict", [Verdict.CONFIRMED, Verdict.RETRAINED])
def test_loss_that_was_real_is_tolerated(model: LiveModel, verdict: Verdict) -> None:
    traffic(model, 1_500)
    before = limit(model)
    _, [alarm] = traffic(model, 1_500, flipped=0.5)
    model.judge(alarm, verdict=verdict)
    assert traffic(model, 1_500, flipped=0.5)[1] == ()
    assert limit(model) > before + 0.05
