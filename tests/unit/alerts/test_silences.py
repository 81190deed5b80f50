"""A silence is a row of the ledger: who is not told of what, until when, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keel.alerts.records import ALL_MODELS, State
from keel.alerts.silences import covering, covers, end_silence, silence, silences
from keel.config import AlertsConfig, Kind, Severity
from keel.deployments.consistency import find_disagreements
from keel.errors import BadSilence, UnknownSilence
from keel.ledger import entries as ledger
from keel.ledger.narrative import describe
from keel.workspace import Workspace
from tests.support.alerts.life import START, STEP, Life, finding, silence_of

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def ws(store, store_url: str, tmp_path: Path) -> Iterator[Workspace]:
    with Workspace.open(home=tmp_path / "home", store_url=store_url) as opened:
        yield opened


def test_silence_is_recorded_with_its_reason_and_lasts_until_its_end(ws):
    made = silence(ws, "toy", subject="wind_*", until=NOW + DAY, reason="new station", actor="ada", now=NOW)
    assert silences(ws.store, "toy", NOW) == [made]
    assert silences(ws.store, "other", NOW) == []
    assert silences(ws.store, None, NOW + DAY) == []
    [row] = ledger.entries(ws.store, "toy")
    assert (row.action, row.actor, row.at) == ("silence", "ada", NOW)
    assert describe(row) == (
        "All alerts about wind_* were silenced by ada until 3 March 2026 09:00 (UTC): nobody is told of them. "
        "Reason: new station."
    )
    assert ledger.verify(ws.store).broken_at is None


def test_the_same_call_again_writes_nothing(ws):
    about = {"kind": Kind.DATA_DRIFT, "until": NOW + DAY, "reason": "known", "actor": "ada", "now": NOW}
    assert silence(ws, "toy", **about) == silence(ws, "toy", **about)
    assert len(list(ledger.entries(ws.store))) == 1


def test_silence_that_is_ended_no_longer_counts(ws):
    first = silence(ws, "toy", until=NOW + 2 * DAY, reason="known", actor="ada", now=NOW)
    other = silence(ws, "toy", kind=Kind.APPROVAL, until=NOW + DAY, reason="away", actor="ada", now=NOW)
    assert silences(ws.store, "toy", NOW) == [other, first]
    assert end_silence(ws, first.silence_id[:6], actor="grace", now=NOW + DAY / 2) == first
    assert silences(ws.store, "toy", NOW) == [other]
    *_, row = ledger.entries(ws.store, "toy")
    assert (row.action, row.actor, row.body["silence_id"]) == ("end_silence", "grace", first.silence_id)
    assert ledger.verify(ws.store).broken_at is None


def test_silence_of_all_models_is_one_row_that_each_of_them_lists(ws):
    of_all = silence(ws, ALL_MODELS, start=NOW + DAY, until=NOW + 2 * DAY, reason="we move", actor="ada", now=NOW)
    of_toy = silence(ws, "toy", until=NOW + 3 * DAY, reason="known", actor="ada", now=NOW)
    assert silences(ws.store, "other", NOW) == [of_all]
    assert silences(ws.store, "toy", NOW) == silences(ws.store, None, NOW) == [of_all, of_toy]
    row = next(ledger.entries(ws.store, ALL_MODELS))
    assert describe(row) == (
        "All alerts of all models were silenced by ada from 3 March 2026 09:00 until 4 March 2026 09:00 (UTC): "
        "nobody is told of them. Reason: we move."
    )
    assert end_silence(ws, of_all.silence_id, actor="grace", now=NOW) == of_all  # before it has begun
    assert silences(ws.store, "other", NOW) == []
    assert ledger.verify(ws.store).broken_at is None
    assert find_disagreements(ws.store) == []


def test_silence_that_does_not_last_cannot_be_ended(ws):
    made = silence(ws, "toy", until=NOW + DAY, reason="known", actor="ada", now=NOW)
    other = silence(ws, "toy", until=NOW + 3 * DAY, reason="known", actor="ada", now=NOW)
    with pytest.raises(UnknownSilence, match="no silence that lasts"):
        end_silence(ws, "", actor="ada", now=NOW)
    with pytest.raises(UnknownSilence, match=rf"no silence that lasts .* there are: {other.silence_id} \(all alerts"):
        end_silence(ws, made.silence_id, actor="ada", now=NOW + 2 * DAY)
    assert len(list(ledger.entries(ws.store))) == 2


def test_beginning_of_several_ids_ends_none(ws):
    until = [NOW + DAY * days for days in range(1, 18)]  # two of 17 ids begin with the same of 16 digits
    made = [silence(ws, "toy", until=each, reason="known", actor="ada", now=NOW) for each in until]
    [(first, _)] = Counter(each.silence_id[0] for each in made).most_common(1)
    with pytest.raises(UnknownSilence, match="several silences have ids that begin"):
        end_silence(ws, first, actor="ada", now=NOW)
    assert len(silences(ws.store, "toy", NOW)) == len(made)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"until": NOW}, "would be over already"),
        ({"until": NOW + DAY, "start": NOW + DAY}, "would end before it begins"),
        ({"reason": "  "}, "needs a reason"),
        ({"actor": ""}, "needs an actor"),
        ({"subject": ""}, "matches no column"),
    ],
)
def test_silence_without_effect_reason_or_actor_is_refused(ws, changes, words):
    about = {"until": NOW + DAY, "reason": "known", "actor": "ada", "now": NOW}
    with pytest.raises(BadSilence, match=words):
        silence(ws, "toy", **{**about, **changes})
    assert list(ledger.entries(ws.store)) == []


def test_row_of_another_form_silences_nothing(ws):
    from keel.deployments.ledger_rows import append_entry

    with ws.store.begin() as connection:
        for body in ({}, {"silence": {"silence_id": "x"}}, {"silence": [1]}):
            append_entry(connection, "toy", actor="ada", action="silence", body=body, now=NOW)
    assert silences(ws.store, "toy", NOW) == []


@pytest.mark.parametrize(
    ("kind", "subject", "covered"),
    [
        (None, None, True),
        (Kind.DATA_DRIFT, None, True),
        (Kind.PERFORMANCE, None, False),
        (None, "wind_speed", True),
        (None, "wind_*", True),
        (None, "WIND_*", False),
        (None, "wind", False),
        (None, "[uvw]ind_sp??d", True),
    ],
)
def test_silence_covers_what_its_kind_and_pattern_match(kind, subject, covered):
    life = Life()
    life.see(finding(Kind.DATA_DRIFT, "wind_speed"))
    [alert] = life.open
    assert alert.state is State.PENDING
    of = silence_of(kind=kind, subject=subject)
    assert covering(alert, [of], life.at) == (of if covered else None)
    assert covering(alert, [of], of.until) is None


@pytest.mark.parametrize("model", ["toy", ALL_MODELS])
@pytest.mark.parametrize("kind", [Kind.CHANNEL, Kind.LEDGER_BROKEN])
def test_silence_of_all_models_covers_what_concerns_none_but_a_broken_ledger_only_by_its_name(model, kind):
    life = Life()
    life.see(finding(kind, "x", Severity.CRITICAL))
    alert = life.open[0].model_copy(update={"model": model})
    assert not covers(silence_of(model="other"), alert)
    assert covers(silence_of(model=ALL_MODELS, kind=kind), alert)
    for of in (silence_of(model=ALL_MODELS), silence_of(model=model), silence_of(model=model, subject="x")):
        assert covers(of, alert) == (kind is Kind.CHANNEL)


def test_planned_silence_covers_from_its_start_to_its_end():
    start = START + 3 * STEP
    life = Life(AlertsConfig(fire_after=1, digest=None), silences=[silence_of(start=start, until=start + 2 * STEP)])
    told = [len(life.see(finding(Kind.DATA_QUALITY, f"column {number}"))) for number in range(1, 6)]
    assert told == [1, 1, 0, 0, 3], "what still fires is told at its end"


def test_of_several_silences_the_one_that_lasts_longest_is_named():
    life = Life()
    life.see(finding(Kind.DATA_DRIFT, "temp"))
    short, long = silence_of(until=life.at + DAY), silence_of(until=life.at + 2 * DAY)
    assert covering(life.open[0], [short, long], life.at) == long


@pytest.mark.parametrize(
    ("subject", "about"),
    [("price[usd]", "price[usd]"), ("x", "x against the window before"), ("x?", "x1 against the window before")],
)
def test_name_matches_itself_and_all_that_is_about_the_column(subject, about):
    life = Life(AlertsConfig(fire_after=1), silences=[silence_of(subject=subject)])
    assert life.see(finding(Kind.DATA_DRIFT, about)) == []
    assert len(life.see(finding(Kind.DATA_DRIFT, f"{about}, another"))) == 1
