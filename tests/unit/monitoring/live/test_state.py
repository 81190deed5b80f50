"""The saved state is restored exactly, and bytes that are not a state of this release are refused in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from keel.errors import SchemaError
from keel.monitoring.live.promise import Promise
from keel.monitoring.live.state import FORMAT, Mark, RunHeader, SavedState

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATE = SavedState(
    RunHeader("toy", 3, NOON, NOON, {"live": {"context": ["hour"]}}, Promise(5, 1000, 100, 1, 0.05), "ab", ("a note",)),
    {"shift": {"began": np.arange(6).reshape(2, 3), "seen_until": np.array(np.datetime64("2026-03-01", "us"))}},
    rows=700,
    marks={"shift:x": Mark("live-1", 6, 100)},
    restarted={"shift:z": 4},
)


def test_state_is_restored_exactly():
    restored = SavedState.from_bytes(STATE.to_bytes())
    assert replace(restored, groups={}) == replace(STATE, groups={})
    assert restored.groups["shift"]["began"].tolist() == STATE.groups["shift"]["began"].tolist()
    assert restored.groups["shift"]["seen_until"] == STATE.groups["shift"]["seen_until"]
    assert restored.to_bytes() == STATE.to_bytes()


def test_every_flipped_byte_and_every_truncation_of_a_state_is_refused():
    whole = STATE.to_bytes()
    for at in range(0, len(whole), 11):
        with pytest.raises(SchemaError, match="it "):
            SavedState.from_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(SchemaError, match="damaged"):
            SavedState.from_bytes(whole[:at])


def test_state_of_a_newer_release_is_named():
    newer = STATE.to_bytes().replace(b"%d\n" % FORMAT, b"%d\n" % (FORMAT + 1), 1)
    with pytest.raises(SchemaError, match=f"format {FORMAT + 1}; this release of Keel reads {FORMAT}"):
        SavedState.from_bytes(newer)


@pytest.mark.parametrize(("alpha", "words"), [(0.05, "probability"), (None, "average run length")])
def test_promise_says_which_of_the_two_it_is(alpha, words):
    promise = Promise(5, 1000, 100, 2, alpha)
    assert words in promise.sentence
    assert "1,000 blocks of 200 predictions" in promise.sentence
    assert promise.log_bound == pytest.approx(np.log(5 * 1000 / (alpha or 1)))
