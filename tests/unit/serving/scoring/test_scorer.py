"""The scorer: requests scored together get their own answers, fail alone, and are answered after they are stored."""

from __future__ import annotations

import asyncio
import json
import threading
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
from tests.support.waiting import until

CONFIG = toy_config()
PLAN = Plan("e1", "toy", 1, 2, "ab", (Stage(0.3),), "salt", "brier", 0.0, 0.05, 1000, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture(scope="module")
def versions():
    """Champion and challenger, fitted to different rows; both raise for x beyond a million."""
    found = []
    for number in (1, 2):
        rows = toy_rows(days=5, seed=number)
        estimator = import_module("tests.support.pipelines.toy").build(CONFIG, number)
        estimator.fit(to_model_input(rows, CONFIG), rows["label"].to_numpy())
        found.append(version(Fussy(estimator), CONFIG, rows, number=number, threshold=0.4 + number / 10))
    return found


def rows_of(x, *, entities=None, ids=None):
    """Return rows with these values of x and the same values of all other features."""
    size = len(x)
    first = clock(size)
    features = Features(("x", "z"), np.array([x, [1.0] * size]), {"colour": ["red"] * size})
    return Rows(ids or [f"row-{first + i}" for i in range(size)], list(range(first, first + size)), entities, features)


def ask(*requests, what, **options):
    """Return the answers and errors of requests that all wait when a scorer starts."""
    scorer = Scorer(**options)

    async def together():
        return await asyncio.gather(*(scorer.answer(rows, what) for rows in requests), return_exceptions=True)

    try:
        return asyncio.run(together())
    finally:
        scorer.close()


def calls(version):
    return version.model.pyfunc.get_raw_model().calls


def test_scorer_gives_each_request_the_answer_to_its_own_rows(versions):
    what = served(CONFIG, versions[0])
    requests = [rows_of([float(i), -float(i)][: 1 + i % 2]) for i in range(40)]
    before = calls(versions[0])
    answers = ask(*requests, what=what)
    assert calls(versions[0]) - before < len(requests)  # otherwise no requests were scored together
    for rows, answer in zip(requests, answers, strict=True):
        outputs, scores, predictions = versions[0].score(rows.features)
        assert answer.raw == outputs
        block = answer.block
        assert (block.ids, block.times, block.versions) == (rows.ids, rows.times, [1] * len(rows))
        assert (block.scores, block.predictions) == (packed(scores), packed(predictions))
        assert (block.numeric, block.numbers) == (["x", "z"], packed(rows.features.numbers.T))
        assert block.texts == {"colour": ["red"] * len(rows)}
        assert block.arms is block.experiment is block.shadow_version is None


def test_request_whose_rows_cannot_be_scored_fails_alone(versions):
    requests = [rows_of([1.0]), rows_of([0.5, 1e9]), rows_of([2.0])]
    first, failed, last = ask(*requests, what=served(CONFIG, versions[0]))
    assert isinstance(failed, ScoringFailed)
    assert "version 1 failed on these rows: ValueError: this is too much" in str(failed)
    assert first.block.ids == requests[0].ids
    assert last.raw == versions[0].score(requests[2].features)[0]


def test_experiment_answers_by_arm_and_reports_versions_and_arms(versions):
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
    keel = json.loads(answer.body())["keel"]
    assert keel["version"] is None
    assert (keel["versions"], keel["arms"], keel["experiment"]) == (block.versions, block.arms, "e1")
    assert answer.headers()["X-Keel-Version"] == "1,2"


def test_entity_keeps_its_arm_as_the_share_rises(versions):
    entities = [f"customer-{i}" for i in range(500)]
    rows = rows_of([0.0] * 500, entities=entities)
    shares = [0.1, 0.3, 0.6]
    arms = [route(rows, replace(PLAN, stages=(Stage(share),))).arms for share in shares]
    for share, fewer, more in zip(shares, [[CHAMPION] * 500, *arms], arms, strict=False):
        challenged = more.count(CHALLENGER)
        assert abs(challenged - 500 * share) < 4 * (500 * share * (1 - share)) ** 0.5
        assert all(after == CHALLENGER for before, after in zip(fewer, more, strict=True) if before == CHALLENGER)


def test_answer_to_one_row_has_arm_and_id_in_the_headers(versions):
    [answer] = ask(rows_of([1.0], ids=["mine"]), what=served(CONFIG, *versions, PLAN))
    headers = answer.headers()
    assert headers["X-Keel-Arm"] == answer.block.arms[0]
    assert headers["X-Keel-Prediction-Id"] == "mine"
    assert headers["X-Keel-Version"] == str(answer.block.versions[0])
    [answer] = ask(rows_of([1.0], ids=["mine\r\nX: y"]), what=served(CONFIG, versions[0]))
    assert answer.headers().keys() == {"X-Keel-Model", "X-Keel-Version"}


def test_champion_answers_rows_on_which_the_challenger_fails_and_they_keep_their_arm(versions, caplog):
    """Otherwise clients of one arm would get errors, and the arm would keep only its easy rows."""
    champions, challengers = (
        next(f"c-{i}" for i in range(100) if assign(PLAN, f"c-{i}", PLAN.started_at).arm == arm)
        for arm in (CHAMPION, CHALLENGER)
    )

    def fails(_):
        raise ValueError("this is too much")

    broken = copy(versions[1])
    broken.predict = fails
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
    assert scorer.challenger_failures == 2
    assert [message for message in caplog.messages if "challenger" in message] == [
        "a challenger or shadow failed; the champion answers: toy: version 2 failed on these rows: ValueError"
    ]


def test_request_that_neither_version_can_score_fails(versions):
    challengers = next(f"c-{i}" for i in range(100) if assign(PLAN, f"c-{i}", PLAN.started_at).arm == CHALLENGER)
    good, bad = ask(
        rows_of([1.0], entities=[challengers]),
        rows_of([1e9], entities=[challengers]),
        what=served(CONFIG, *versions, PLAN),
    )
    assert good.block.versions == [2]
    assert isinstance(bad, ScoringFailed)
    assert "version 1 failed" in str(bad)


SHADOW = replace(PLAN, mode="shadow", stages=())


def test_shadow_scores_are_stored_but_not_in_the_answer(versions):
    what = served(CONFIG, *versions, SHADOW)
    rows = rows_of([0.0, 3.0])
    [answer] = ask(rows, what=what)
    block = answer.block
    assert answer.raw == versions[0].score(rows.features)[0]
    assert (block.versions, block.arms, block.experiment, block.shadow_version) == ([1, 1], None, "e1", 2)
    _, scores, predictions = versions[1].score(rows.features)
    assert (block.shadow_scores, block.shadow_predictions) == (packed(scores), packed(predictions))
    assert "shadow" not in answer.body().decode()


def test_shadow_that_fails_costs_no_answer(versions):
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
    assert scorer.challenger_failures == 1


def test_scorer_is_stuck_while_a_version_does_not_return(versions):
    started, may_end = threading.Event(), threading.Event()

    class Stuck:
        number, is_binary, needed = 1, True, versions[0].needed

        def score(self, features):
            started.set()
            may_end.wait(30)
            return versions[0].score(features)

    scorer = Scorer(stuck_seconds=0.05)
    asking = threading.Thread(
        target=lambda: asyncio.run(
            scorer.answer(rows_of([1.0]), replace(served(CONFIG, versions[0]), production=Stuck()))
        )
    )
    try:
        assert not scorer.is_stuck
        asking.start()
        assert started.wait(10)
        until(lambda: scorer.is_stuck, 10)
        may_end.set()
        asking.join(10)
        assert not scorer.is_stuck, "otherwise the process would be restarted for a call that has returned"
    finally:
        may_end.set()
        scorer.close()


def test_slots_do_not_split_while_another_version_than_the_plans_champion_answers(versions):
    before = copy(versions[0])
    before.number = 3
    slots = ModelSlots(CONFIG)
    slots.set_desired(DesiredState(3))
    slots.add(before)
    slots.set_desired(DesiredState(1, previous=3, plan=PLAN))
    slots.add(versions[1])  # the challenger is loaded, the champion not yet
    assert (slots.served.production, slots.served.plan, slots.served.challenger) == (before, None, None)
    slots.add(versions[0])
    assert (slots.served.production, slots.served.plan, slots.served.challenger) == (versions[0], PLAN, versions[1])


@pytest.mark.parametrize("plan", [PLAN, SHADOW], ids=lambda plan: plan.mode)
def test_challenger_that_needs_more_columns_costs_no_answer(versions, plan):
    answers = copy(versions[0])
    answers.needed = ("x", "colour")
    slots = ModelSlots(CONFIG)
    slots.set_desired(DesiredState(1, plan=plan))
    for each in (answers, versions[1]):
        slots.add(each)
    assert slots.served.plan is plan
    assert slots.served.inputs.required == {"x", "colour"}
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


def test_answers_are_given_only_after_they_are_stored(versions):
    stored, records = Future(), []

    def append(batch, inline=False):
        records.extend(batch)
        return stored

    scorer = Scorer(append=append)

    async def ask_and_wait():
        what = served(CONFIG, versions[0])
        answers = [asyncio.ensure_future(scorer.answer(rows_of([float(i)]), what)) for i in range(3)]
        while len(records) < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert not any(each.done() for each in answers)
        threading.Thread(target=stored.set_result, args=(None,)).start()
        return await asyncio.gather(*answers)

    try:
        answers = asyncio.run(ask_and_wait())
    finally:
        scorer.close()
    assert [decode(record).ids for record in records] == [answer.block.ids for answer in answers]


def test_full_spool_refuses_large_requests_and_answers_those_that_fit(versions):
    def append(batch, inline=False):
        return done(SpoolFull("full") if any(len(record) > 2_000 for record in batch) else None)

    requests = [rows_of([1.0]), rows_of([1.0] * 500), rows_of([2.0])]
    first, large, last = ask(*requests, what=served(CONFIG, versions[0]), append=append)
    assert isinstance(large, SpoolFull)
    assert (first.block.ids, last.block.ids) == (requests[0].ids, requests[2].ids)


@pytest.mark.parametrize("raises", [False, True])
def test_failed_spool_is_tried_once_and_fails_all_requests(versions, raises):
    sizes = []

    def append(batch, inline=False):
        sizes.append(len(batch))
        if raises:
            raise SpoolFailed("the disk")
        return done(SpoolFailed("the disk"))

    found = ask(*(rows_of([1.0]) for _ in range(5)), what=served(CONFIG, versions[0]), append=append)
    assert all(isinstance(each, SpoolFailed) for each in found)
    assert sum(sizes) == 5


def test_requests_beyond_the_waiting_limit_are_refused_at_once(versions):
    found = ask(*(rows_of([1.0] * 10) for _ in range(5)), what=served(CONFIG, versions[0]), max_waiting=25)
    refused = [each for each in found if isinstance(each, Overloaded)]
    assert len(refused) == 3
    assert refused[0].status == 503


def test_request_above_the_waiting_limit_is_answered_if_no_other_waits(versions):
    [answer] = ask(rows_of([1.0] * 10), what=served(CONFIG, versions[0]), max_waiting=5)
    assert len(answer.raw) == 10


def test_client_that_disconnects_does_not_disturb_others(versions):
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


def test_closed_scorer_refuses_requests(versions):
    scorer = Scorer()
    scorer.close()
    scorer.close()
    with pytest.raises(Overloaded, match="stopping"):
        asyncio.run(scorer.answer(rows_of([1.0]), served(CONFIG, versions[0])))


def test_defect_in_keel_is_logged_and_the_next_request_is_answered(versions, caplog):
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
    assert "unexpectedly" in caplog.text
