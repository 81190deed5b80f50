"""Requests that wait together: each gets its own answer, each fails alone, and none before it is written down."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import Future
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module

import numpy as np
import pytest

from keel.errors import Overloaded, ScoringFailed, SpoolFailed, SpoolFull
from keel.evaluation.experiment.plan import CHALLENGER, CHAMPION, Plan, Stage, assign
from keel.registry.scoring_model import to_model_input
from keel.serving.models.desired_state import DesiredState
from keel.serving.models.input_schema import Features, Rows
from keel.serving.models.slots import ModelSlots
from keel.serving.prediction_log.records import decode, packed
from keel.serving.scoring.routing import route
from keel.serving.scoring.scorer import Scorer
from keel.store.database.times import from_micros
from tests.support.serving.models import Fussy, clock, served, version
from tests.support.toy import toy_config, toy_rows

CONFIG = toy_config()
PLAN = Plan("e1", "toy", 1, 2, "ab", (Stage(0.3),), "salt", "brier", 0.0, 0.05, 1000, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def versions():
    """Champion and challenger, two regressions that learned from different rows; both refuse x beyond a million."""
    found = []
    for number in (1, 2):
        rows = toy_rows(days=5, seed=number)
        estimator = import_module("tests.support.toy_pipeline").build(CONFIG, number)
        estimator.fit(to_model_input(rows, CONFIG), rows["label"].to_numpy())
        found.append(version(Fussy(estimator), CONFIG, rows, number=number, threshold=0.4 + number / 10))
    return found


def rows_of(x, *, entities=None, ids=None):
    """Rows with these values of x and the same of everything else."""
    size = len(x)
    first = clock(size)
    features = Features(("x", "z"), np.array([x, [1.0] * size]), {"colour": ["red"] * size})
    return Rows(ids or [f"row-{first + i}" for i in range(size)], list(range(first, first + size)), entities, features)


def ask(*requests, what, **options):
    """Have a scorer answer requests that all wait when it begins; return answers and errors."""
    scorer = Scorer(**options)

    async def together():
        return await asyncio.gather(*(scorer.answer(rows, what) for rows in requests), return_exceptions=True)

    try:
        return asyncio.run(together())
    finally:
        scorer.close()


def calls(version):
    return version.model.pyfunc.get_raw_model().calls


def test_each_request_gets_the_answer_to_its_own_rows(versions):
    what = served(CONFIG, versions[0])
    requests = [rows_of([float(i), -float(i)][: 1 + i % 2]) for i in range(40)]
    before = calls(versions[0])
    answers = ask(*requests, what=what)
    assert calls(versions[0]) - before < len(requests)  # or nothing was scored together
    for rows, answer in zip(requests, answers, strict=True):
        outputs, scores, predictions = versions[0].score(rows.features)
        assert answer.raw == outputs
        block = answer.block
        assert (block.ids, block.times, block.versions) == (rows.ids, rows.times, [1] * len(rows))
        assert (block.scores, block.predictions) == (packed(scores), packed(predictions))
        assert (block.numeric, block.numbers) == (["x", "z"], packed(rows.features.numbers.T))
        assert block.texts == {"colour": ["red"] * len(rows)}
        assert block.arms is block.experiment is block.shadow_version is None


def test_a_request_whose_rows_cannot_be_scored_fails_alone(versions):
    requests = [rows_of([1.0]), rows_of([0.5, 1e9]), rows_of([2.0])]
    first, poisonous, last = ask(*requests, what=served(CONFIG, versions[0]))
    assert isinstance(poisonous, ScoringFailed)
    assert "version 1 failed on these rows: ValueError: this is too much" in str(poisonous)
    assert first.block.ids == requests[0].ids
    assert last.raw == versions[0].score(requests[2].features)[0]


def test_an_experiment_answers_by_arm_and_says_so(versions):
    what = served(CONFIG, *versions, PLAN)
    entities = [None if i % 10 == 9 else f"customer-{i % 60}" for i in range(200)]
    rows = rows_of([i / 100 for i in range(200)], entities=entities)
    [answer] = ask(rows, what=what)
    block = answer.block
    assert block.experiment == "e1"
    assert {CHAMPION, CHALLENGER} == set(block.arms)
    outputs = [version.score(rows.features) for version in versions]
    allocations, scores, predictions = map(np.frombuffer, (block.allocations, block.scores, block.predictions))
    for row, arm in enumerate(block.arms):
        chosen = assign(PLAN, entities[row] or rows.ids[row], from_micros(rows.times[row]))
        number = 2 if arm == CHALLENGER else 1
        assert (arm, allocations[row], block.versions[row]) == (*chosen, number)
        assert answer.raw[row] == outputs[number - 1][0][row]
        assert scores[row] == outputs[number - 1][1][row]
        assert predictions[row] == outputs[number - 1][2][row]
    said = json.loads(answer.body())["keel"]
    assert said["version"] is None
    assert (said["versions"], said["arms"], said["experiment"]) == (block.versions, block.arms, "e1")
    assert answer.headers()["X-Keel-Version"] == "1,2"


def test_an_entity_stays_with_its_arm_as_the_share_rises(versions):
    entities = [f"customer-{i}" for i in range(500)]
    rows = rows_of([0.0] * 500, entities=entities)
    shares = [0.1, 0.3, 0.6]
    arms = [route(rows, replace(PLAN, stages=(Stage(share),))).arms for share in shares]
    for share, fewer, more in zip(shares, [[CHAMPION] * 500, *arms], arms, strict=False):
        challenged = more.count(CHALLENGER)
        assert abs(challenged - 500 * share) < 4 * (500 * share * (1 - share)) ** 0.5
        assert all(after == CHALLENGER for before, after in zip(fewer, more, strict=True) if before == CHALLENGER)


def test_one_row_of_an_experiment_tells_its_arm_in_the_headers(versions):
    [answer] = ask(rows_of([1.0], ids=["mine"]), what=served(CONFIG, *versions, PLAN))
    headers = answer.headers()
    assert headers["X-Keel-Arm"] == answer.block.arms[0]
    assert headers["X-Keel-Prediction-Id"] == "mine"
    assert headers["X-Keel-Version"] == str(answer.block.versions[0])
    [answer] = ask(rows_of([1.0], ids=["mine\r\nX: y"]), what=served(CONFIG, versions[0]))
    assert answer.headers().keys() == {"X-Keel-Model", "X-Keel-Version"}


def test_the_champion_answers_what_a_challenger_fails_on_and_the_arm_stays(versions, caplog):
    """Or clients of one arm would get errors, and its rows be the easy ones; `read_rows` counts them as left out."""
    champions, challengers = (
        next(f"c-{i}" for i in range(100) if assign(PLAN, f"c-{i}", PLAN.started_at).arm == arm)
        for arm in (CHAMPION, CHALLENGER)
    )

    def fails(_):
        raise ValueError("this is too much")

    broken = copy(versions[1])
    broken._predict = fails
    both = rows_of([1.0, 2.0, 3.0], entities=[challengers, champions, challengers])
    own = rows_of([4.0], entities=[challengers])
    scorer = Scorer()

    async def together():
        what = served(CONFIG, versions[0], broken, PLAN)
        return await asyncio.gather(*(scorer.answer(rows, what) for rows in (both, own)))

    try:
        answers = asyncio.run(together())
    finally:
        scorer.close()
    for rows, answer in zip((both, own), answers, strict=True):
        outputs, scores, _ = versions[0].score(rows.features)
        assert (answer.raw, answer.block.scores) == (outputs, packed(scores))
        assert answer.block.versions == [1] * len(rows)
        assert answer.block.experiment == "e1"
    assert answers[0].block.arms == [CHALLENGER, CHAMPION, CHALLENGER]
    assert answers[0].block.allocations == packed([0.3, 0.7, 0.3])
    assert answers[1].block.arms == [CHALLENGER]
    assert scorer.trial_failures == 2
    assert [record.getMessage() for record in caplog.records if "trial" in record.getMessage()] == [
        "a version on trial failed, and the champion answers: toy: version 2 failed on these rows: ValueError"
    ]


def test_what_neither_version_can_score_fails(versions):
    challengers = next(f"c-{i}" for i in range(100) if assign(PLAN, f"c-{i}", PLAN.started_at).arm == CHALLENGER)
    good, bad = ask(
        rows_of([1.0], entities=[challengers]), rows_of([1e9], entities=[challengers]),
        what=served(CONFIG, *versions, PLAN),
    )  # fmt: skip
    assert good.block.versions == [2]
    assert isinstance(bad, ScoringFailed)
    assert "version 1 failed" in str(bad)


SHADOW = replace(PLAN, mode="shadow", stages=())


def test_a_shadow_scores_and_nobody_hears_of_it(versions):
    what = served(CONFIG, *versions, SHADOW)
    rows = rows_of([0.0, 3.0])
    [answer] = ask(rows, what=what)
    block = answer.block
    assert answer.raw == versions[0].score(rows.features)[0]
    assert (block.versions, block.arms, block.experiment, block.shadow_version) == ([1, 1], None, "e1", 2)
    _, scores, predictions = versions[1].score(rows.features)
    assert (block.shadow_scores, block.shadow_predictions) == (packed(scores), packed(predictions))
    assert "shadow" not in answer.body().decode()


def test_a_shadow_that_fails_takes_no_answer_away(versions):
    rows = rows_of([1.0])

    class Broken:
        number, is_binary, needed = 2, True, ()

        def score(self, features):
            raise ScoringFailed("broken")

    scorer = Scorer()
    try:
        answer = asyncio.run(scorer.answer(rows, replace(served(CONFIG, *versions, SHADOW), challenger=Broken())))
    finally:
        scorer.close()
    assert answer.block.shadow_version is answer.block.shadow_scores is None
    assert scorer.trial_failures == 1


def test_a_version_that_does_not_return_is_noticed(versions, monkeypatch):
    begun, may_end = threading.Event(), threading.Event()

    class Stuck:
        number, is_binary, needed = 1, True, versions[0].needed

        def score(self, features):
            begun.set()
            may_end.wait(30)
            return versions[0].score(features)

    monkeypatch.setattr("keel.serving.scoring.scorer.HUNG_SECONDS", 0.1)
    scorer = Scorer()
    asking = threading.Thread(
        target=lambda: asyncio.run(
            scorer.answer(rows_of([1.0]), replace(served(CONFIG, versions[0]), production=Stuck()))
        )
    )
    try:
        assert not scorer.hangs
        asking.start()
        assert begun.wait(10)
        time.sleep(0.2)
        assert scorer.hangs
        may_end.set()
        asking.join(10)
        assert not scorer.hangs, "or it would be ended for what is over"
    finally:
        may_end.set()
        scorer.close()


def test_nobody_is_split_while_another_version_than_the_plans_champion_still_answers(versions):
    before = copy(versions[0])
    before.number = 3
    shelf = ModelSlots(CONFIG)
    shelf.want(DesiredState(3))
    shelf.put(before)
    shelf.want(DesiredState(1, previous=3, plan=PLAN))
    shelf.put(versions[1])  # the challenger is there, and the champion not yet
    assert (shelf.served.production, shelf.served.plan, shelf.served.challenger) == (before, None, None)
    shelf.put(versions[0])
    assert (shelf.served.production, shelf.served.plan, shelf.served.challenger) == (versions[0], PLAN, versions[1])


@pytest.mark.parametrize("plan", [PLAN, SHADOW], ids=lambda plan: plan.mode)
def test_a_version_on_trial_that_needs_more_columns_takes_no_answer_away(versions, plan):
    answers = copy(versions[0])
    answers.needed = ("x", "colour")
    shelf = ModelSlots(CONFIG)
    shelf.want(DesiredState(1, plan=plan))
    for each in (answers, versions[1]):
        shelf.put(each)
    assert shelf.served.plan is plan
    assert shelf.served.inputs.required == {"x", "colour"}
    challengers = [f"c-{i}" for i in range(100) if assign(PLAN, f"c-{i}", PLAN.started_at).arm == CHALLENGER]
    whole = rows_of([0.5], entities=challengers[:1])
    lacking = replace(whole, features=replace(whole.features, absent=frozenset({"z"})))
    found = [answer.block for answer in ask(lacking, whole, what=served(CONFIG, *versions, plan))]
    if plan is SHADOW:
        assert [block.shadow_version for block in found] == [None, 2]
    else:
        assert [(block.arms, block.versions) for block in found] == [([CHALLENGER], [1]), ([CHALLENGER], [2])]


def done(error=None):
    future = Future()
    future.set_result(None) if error is None else future.set_exception(error)
    return future


def test_no_answer_is_given_before_it_is_written_down(versions):
    kept, records = Future(), []

    def keep(batch, here=False):
        records.extend(batch)
        return kept

    scorer = Scorer(keep=keep)

    async def ask_and_wait():
        what = served(CONFIG, versions[0])
        asked = [asyncio.ensure_future(scorer.answer(rows_of([float(i)]), what)) for i in range(3)]
        while len(records) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not any(each.done() for each in asked)
        threading.Thread(target=kept.set_result, args=(None,)).start()
        return await asyncio.gather(*asked)

    try:
        answers = asyncio.run(ask_and_wait())
    finally:
        scorer.close()
    assert [decode(record).ids for record in records] == [answer.block.ids for answer in answers]


def test_what_has_no_room_is_refused_and_what_has_is_answered(versions):
    def keep(batch, here=False):
        return done(SpoolFull("full") if any(len(record) > 2_000 for record in batch) else None)

    requests = [rows_of([1.0]), rows_of([1.0] * 500), rows_of([2.0])]
    first, large, last = ask(*requests, what=served(CONFIG, versions[0]), keep=keep)
    assert isinstance(large, SpoolFull)
    assert (first.block.ids, last.block.ids) == (requests[0].ids, requests[2].ids)


@pytest.mark.parametrize("raises", [False, True])
def test_a_spool_that_fails_is_asked_once_and_answers_nobody(versions, raises):
    asked = []

    def keep(batch, here=False):
        asked.append(len(batch))
        if raises:
            raise SpoolFailed("the disk")
        return done(SpoolFailed("the disk"))

    found = ask(*(rows_of([1.0]) for _ in range(5)), what=served(CONFIG, versions[0]), keep=keep)
    assert all(isinstance(each, SpoolFailed) for each in found)
    assert sum(asked) == 5


def test_more_than_may_wait_is_refused_at_once(versions):
    found = ask(*(rows_of([1.0] * 10) for _ in range(5)), what=served(CONFIG, versions[0]), max_waiting=25)
    refused = [each for each in found if isinstance(each, Overloaded)]
    assert len(refused) == 3
    assert refused[0].status == 503


def test_a_request_larger_than_what_may_wait_is_answered_if_nobody_waits(versions):
    [answer] = ask(rows_of([1.0] * 10), what=served(CONFIG, versions[0]), max_waiting=5)
    assert len(answer.raw) == 10


def test_whoever_goes_away_does_not_disturb_the_others(versions):
    scorer = Scorer()

    async def leave():
        gone = asyncio.ensure_future(scorer.answer(rows_of([1.0]), served(CONFIG, versions[0])))
        stays = asyncio.ensure_future(scorer.answer(rows_of([2.0]), served(CONFIG, versions[0])))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    try:
        assert asyncio.run(leave()).raw
        assert scorer.waiting == 0
    finally:
        scorer.close()


def test_after_the_end_nothing_is_taken(versions):
    scorer = Scorer()
    scorer.close()
    scorer.close()
    with pytest.raises(Overloaded, match="stopping"):
        asyncio.run(scorer.answer(rows_of([1.0]), served(CONFIG, versions[0])))


def test_a_mistake_in_keel_itself_is_told_and_the_next_request_answered(versions, caplog):
    scorer = Scorer()
    what = served(CONFIG, versions[0])

    async def both():
        with pytest.raises(AttributeError):
            await scorer.answer(replace(rows_of([1.0]), features=None), what)
        return await scorer.answer(rows_of([1.0]), what)

    try:
        assert asyncio.run(both()).raw
    finally:
        scorer.close()
    assert "nobody has foreseen" in caplog.text
