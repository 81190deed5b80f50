"""The ledger takes what callers give it, and proves its chain afterwards."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from keel.lifecycle import deployments, ledger
from keel.store import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path / 'keel.db'}") as opened:
        yield opened


def note(store, evidence, actor="somebody"):
    body = {"run_id": "r", "evidence": evidence}
    deployments.note_once(store, "toy", actor=actor, action="keep_champion", body=body, now=NOW)


@pytest.mark.parametrize("actor", ["somebody", "10234", 10234, None])
def test_the_chain_holds_whoever_acted(store, actor):
    note(store, {"n": 1}, actor)
    assert next(ledger.entries(store)).actor == str(actor)
    assert ledger.verify(store).broken_at is None


def test_the_same_evidence_is_noted_once_also_after_other_evidence(store):
    for n in (1, 2, 1):
        note(store, {"n": n})
    assert [entry.body["evidence"]["n"] for entry in ledger.entries(store, "toy")] == [1, 2]


def test_entries_are_of_one_model_and_one_action(store):
    note(store, {"n": 1})
    deployments.note_once(store, "other", actor="a", action="keep_champion", body={"evidence": {}}, now=NOW)
    deployments.note_once(store, "toy", actor="a", action="roll_back", body={"evidence": {}}, now=NOW)
    assert [entry.action for entry in ledger.entries(store, "toy")] == ["keep_champion", "roll_back"]
    assert [entry.seq for entry in ledger.entries(store, "toy", "roll_back")] == [3]
    assert len(list(ledger.entries(store))) == 3
