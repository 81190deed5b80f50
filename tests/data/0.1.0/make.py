"""Make the installation beside this file with Keel 0.1.0. Runs at commit 67d228b only; see README.md."""

from __future__ import annotations

import json
import lzma
import shutil
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tests.toy import toy_config
from tests.tried import serve

from keel import loop, realised, rollout, upkeep
from keel.feedback import hand_in
from keel.lifecycle import deployments, ledger, versions
from keel.lifecycle.checkpoint import write
from keel.lifecycle.experiment.plan import Stage
from keel.lifecycle.experiments import running
from keel.lifecycle.keys import keygen, private_key
from keel.lifecycle.proof import write_rows
from keel.lifecycle.quarantine import release
from keel.memory import now_utc
from keel.replay import replay
from keel.rollout.request import request_promotion
from keel.serving.drain import Drain
from keel.serving.journal import LabelBlock, PredictionBlock, encode, packed
from keel.serving.metrics import Metrics
from keel.spool import Durability, Spool
from keel.workspace import Workspace

HOME = Path("/srv/keel")
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
HISTORY = 18
"""Days before the first version."""
LIVE = START + HISTORY * DAY
ACTIVE_HOURS, PER_HOUR = 6, 15
"""Rows come in the first hours of a day only: an hour costs a kilobyte of counts and sums."""
CONFIG = toy_config(
    check={"schedule": None, "lookback": "3d"},
    drift={"min_rows": 100},
    performance={"metric": "brier", "max_increase": 0.15, "min_rows": 100, "also": ["roc_auc"]},
    retrain={"pipeline": "tests.toy_pipeline", "window": "10d", "holdout": "4d", "min_rows": 200, "cooldown": "1h"},
    retention={"rows": "18d"},
    promotion={"probation": "8d"},
)
ASKING = CONFIG.with_overrides({"promotion.approval": "required"})
PERFORMANCE = ("start", "version", "predictions", "labelled")
BY = {"actor": "airflow", "run_id": "scheduled__1"}


def rows(start, days, *, seed=0, flip=False):
    """Rows of the toy model that compress well; ``flip`` turns the relation round."""
    n = days * ACTIVE_HOURS * PER_HOUR
    rng = np.random.default_rng([seed, int(start.timestamp())])
    x = rng.normal(0, 1, n).round(1)
    chance = 1 / (1 + np.exp((3 if flip else -3) * x))
    minutes = 60 // PER_HOUR * np.arange(ACTIVE_HOURS * PER_HOUR) + np.arange(days)[:, None] * 24 * 60
    first = (start - START) // DAY
    return pa.table(
        {
            "id": [f"{first + i // (ACTIVE_HOURS * PER_HOUR)}-{i % (ACTIVE_HOURS * PER_HOUR)}" for i in range(n)],
            "time": pa.array(np.datetime64(start.replace(tzinfo=None), "us") + minutes.ravel() * np.timedelta64(1, "m"),
                             pa.timestamp("us", "UTC")),
            "label": (rng.random(n) < chance).astype(float),
            "x": x,
            "z": rng.exponential(1, n).round(1),
            "colour": pa.array(rng.choice(["red", "green", "blue"], n, p=[0.5, 0.3, 0.2])),
        }
    )  # fmt: skip


def at(days):
    """Return the time so many days after the first version went into production."""
    return LIVE + days * DAY


def live(ws, table, first, last):
    replay(ws, CONFIG, table, start=at(first), end=at(last))
    replay(ws, CONFIG, table, start=at(last), end=at(last) + DAY)  # their labels


def check(ws, end, *, run_id, channels=("outbox",)):
    counted = loop.count_window(ws, CONFIG, loop.resolve_window(CONFIG, end=end, now=end))
    for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
        step(ws, CONFIG, counted)
    decision = loop.decide(ws, CONFIG, counted, run_id=run_id)
    print(decision["action"], "|", decision["sentence"])
    if decision["action"] in ("all_clear", "raise_alert"):
        message = loop.compose_message(ws, CONFIG, decision)
        loop.record(ws, CONFIG, decision, None, channels=channels if message else ())
    return decision


def challenge(ws, end, *, reason, run_id, config=CONFIG, seed=0):
    config = config.with_overrides({"retrain.seed": seed})
    window = loop.resolve_window(config, end=end, now=end)
    decision = loop.request_retrain(ws, config, window=window, reason=reason, run_id=run_id)
    comparison = rollout.compare(ws, config, loop.retrain(ws, config, decision, actor="ada", run_id=run_id))
    print(comparison["verdict"], comparison["next"], "|", comparison["sentence"])
    return decision, comparison


def finish(ws, decision, outcome):
    loop.record(ws, CONFIG, decision, outcome, channels=["outbox"])
    print("  ", outcome["outcome"], "|", outcome["sentence"])
    return outcome


def answer(ws, comparison, *, by, approved, run_id):
    return rollout.approve(
        ws, ASKING, comparison, approved=approved, approver=by, approver_id="17", dag_id="toy.promote", run_id=run_id,
        responded_at=now_utc(),
    )  # fmt: skip


def first_version(ws):
    replay(ws, CONFIG, rows(START, HISTORY), start=START, end=LIVE)
    decision, comparison = challenge(ws, LIVE, reason="the first version", run_id="manual__1")
    finish(ws, decision, rollout.promote(ws, CONFIG, comparison, actor="ada", run_id="manual__1"))


def alerts_and_quarantines(ws):
    live(ws, rows(LIVE, 3), 0, 3)
    check(ws, at(3), run_id="scheduled__2")
    drifted = rows(at(3), 2)
    live(ws, drifted.set_column(4, "z", pc.add(drifted["z"], 3.0)), 3, 5)
    check(ws, at(5), run_id="scheduled__3")
    check(ws, at(5) + 6 * HOUR, run_id="scheduled__4")
    live(ws, rows(at(5), 1).drop_columns(["x"]), 5, 6)
    live(ws, rows(at(6), 1), 6, 7)
    live(ws, rows(at(7), 1).drop_columns(["x"]), 7, 8)
    decision = check(ws, at(8), run_id="scheduled__5")
    assert decision["action"] == "quarantine", decision
    outcome = finish(ws, decision, loop.quarantine(ws, CONFIG, decision, **BY))
    first, second = outcome["quarantined"]
    release(ws.store, "toy", *(datetime.fromisoformat(second[name]) for name in ("start", "end")), actor="ada",
            now=now_utc())  # fmt: skip
    return first


def harm_and_a_declined_challenger(ws):
    live(ws, rows(at(8), 9, flip=True), 8, 17)
    check(ws, at(11), run_id="scheduled__6")
    decision = check(ws, at(17), run_id="scheduled__7")
    assert decision["action"] == "retrain", decision
    training = loop.retrain(ws, ASKING, decision, **BY)
    comparison = rollout.compare(ws, ASKING, training)
    assert comparison["next"] == "offer", comparison
    rollout.stage(ws, ASKING, comparison, **BY)
    finish(ws, decision, answer(ws, comparison, by="grace", approved=False, run_id="scheduled__7"))
    versions.release(ws.store, ws.registry, "toy", 2, reason="grace agrees now", actor="ada", now=now_utc())


def promotion_and_rollback(ws):
    ask = {"version": 2, "reason": "it is better", "force": False, "end": at(18), "actor": "ada", "run_id": "manual__2"}
    decision = request_promotion(ws, ASKING, **ask)
    comparison = rollout.compare(ws, ASKING, decision)
    rollout.stage(ws, ASKING, comparison, actor="ada", run_id="manual__2")
    answer(ws, comparison, by="grace", approved=True, run_id="manual__2")
    finish(ws, decision, rollout.promote(ws, ASKING, comparison, actor="ada", run_id="manual__2"))
    asked = rollout.request_rollback(
        ws, CONFIG, reason="customers complain", version=None, end=at(18), actor="bob", run_id="manual__3"
    )
    finish(ws, asked, rollout.rollback(ws, CONFIG, asked, actor="bob", run_id="manual__3"))


def promotion_and_probation(ws):
    decision, comparison = challenge(ws, at(18), reason="once more", run_id="manual__4", seed=1)
    finish(ws, decision, rollout.promote(ws, CONFIG, comparison, actor="ada", run_id="manual__4"))
    live(ws, rows(at(18), 10, flip=True), 18, 28)
    watched = rollout.watch(ws, CONFIG, end=at(19), run_id="scheduled__8")
    print(watched["branch"], watched["verdict"], "|", watched["sentence"])
    watched = rollout.watch(ws, CONFIG, end=at(28), run_id="scheduled__9")
    print(watched["branch"], watched["verdict"], "|", watched["sentence"])
    assert watched["branch"] == "confirm"
    finish(ws, watched, rollout.confirm(ws, CONFIG, watched, **BY))


def experiment(ws):
    decision, comparison = challenge(ws, at(28), reason="newer rows", run_id="manual__5", seed=2)
    finish(ws, decision, rollout.keep_champion(ws, CONFIG, comparison, actor="ada", run_id="manual__5"))
    started = rollout.start_experiment(
        ws, CONFIG, challenger=4, stages=(Stage(0.25, DAY), Stage(0.5)), max_n=400, actor="ada",
        reason="is it better on live rows?", now=at(28), run_id="manual__6",
    )  # fmt: skip
    loop.record(ws, CONFIG, started, None, channels=["outbox"])
    serve(ws, CONFIG, running(ws.store, "toy"), rows(at(28), 9, flip=True))
    early = rollout.watch_experiment(ws, CONFIG, end=at(31), run_id="scheduled__10")
    print(early["outcome"], "|", early["sentence"])
    watched = rollout.watch_experiment(ws, CONFIG, end=at(38), run_id="scheduled__11")
    print(watched["branch"], watched["outcome"], "|", watched["sentence"])
    finish(ws, watched, rollout.conclude_experiment(ws, CONFIG, watched, actor="keel", run_id="scheduled__11"))


def labels(ws):
    """Labels without a prediction, and one that contradicts an earlier one."""
    moment = pa.array([at(37)] * 3, pa.timestamp("us", "UTC"))
    table = pa.table({"id": ["unknown-1", "unknown-2", "50-0"], "label": [1.0, 0.0, 7.0], "observed_at": moment})
    print(hand_in(ws, CONFIG, table))


def block(*ids, moment, **changes):
    n, micros = len(ids), int(moment.timestamp() * 1e6)
    plain = PredictionBlock(
        "toy", list(ids), [micros + i for i in range(n)], [3] * n, packed([0.25] * n), packed([0.0] * n),
        ["x", "z"], packed([[1.5, None]] * n), {"colour": ["red"] * n},
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def spool(ws):
    """Leave two reports of records that the store refused, one of them told, and records that wait."""
    with_arms = {
        "arms": ["champion", "challenger"], "allocations": packed([0.75, 0.25]), "entities": ["ann", None],
        "experiment": "experiment-of-0.1.0", "shadow_version": 4, "shadow_scores": packed([0.5, 0.5]),
        "shadow_predictions": packed([1.0, 1.0]),
    }  # fmt: skip
    folder = ws.home / "spool"
    opened = Spool.open(folder, durability=Durability.FSYNC)
    drain = Drain(ws, {"toy": CONFIG}, opened, Metrics(), folder=folder)
    for bad in (block("nul\x00", moment=at(38)), LabelBlock("toy", ["a"], [float("nan")], [0])):
        opened.append([encode(block("drained", moment=at(38))), encode(bad)]).result(10)
        print(drain.move())
        if isinstance(bad, PredictionBlock):
            found = rollout.reconcile(ws, CONFIG, actor="airflow", run_id="scheduled__12")
            assert found["set_aside"], found
    opened.append([encode(block("spooled-1", "spooled-2", moment=at(38), **with_arms))]).result(10)
    opened.append([encode(block("spooled-3", moment=at(38) + HOUR))]).result(10)
    opened.append([encode(LabelBlock("toy", ["spooled-1"], [1.0], [int(at(39).timestamp() * 1e6)]))]).result(10)
    opened.close()


def main(result):
    shutil.rmtree(HOME, ignore_errors=True)
    key = HOME.with_name("keel-signing-key")
    key.unlink(missing_ok=True)
    key.with_name("keel-signing-key.pub").unlink(missing_ok=True)
    keygen(key)
    shutil.rmtree(result / "checkpoints", ignore_errors=True)
    (result / "checkpoints").mkdir(parents=True)
    with Workspace.open(home=HOME, environment={}) as ws:
        first_version(ws)
        set_aside = alerts_and_quarantines(ws)
        write(ws.store, str(result / "checkpoints"), private_key(key), now_utc(), trusted=[])
        harm_and_a_declined_challenger(ws)
        promotion_and_rollback(ws)
        promotion_and_probation(ws)
        experiment(ws)
        labels(ws)
        check(ws, at(38), run_id="scheduled__13")
        before = realised.series(ws, CONFIG, LIVE, at(38), bucket="day")
        print(upkeep.expire_rows(ws, CONFIG, now=at(38)))
        spool(ws)
        assert ws.store.verify() == []
        assert upkeep.compact(ws)["bytes_after"]
        assert realised.series(ws, CONFIG, LIVE, at(38), bucket="day") == before
        write(ws.store, str(result / "checkpoints"), private_key(key), now_utc(), trusted=[])
        write_rows(result / "ledger.jsonl", ledger.stored_rows(ws.store))
        facts = {
            "deployment": {**deployments.read(ws.store, "toy").aliases},
            "set_aside": set_aside,
            "actions": [entry.action for entry in ledger.entries(ws.store, "toy")],
            "statuses": {v["version"]: v["status"] for v in versions.describe(ws.store, ws.registry, "toy")},
            "decisions": {d["decision_id"]: d["action"] for d in ws.store.decisions.list("toy", limit=1000)},
            "reports": {r["report_id"]: r["kind"] for r in ws.store.reports.list("toy", limit=1000)},
            "performance": [
                {name: day[name] for name in ("start", "version", "predictions", "labelled")} for day in before
            ],
        }
    shutil.copy(key.with_name("keel-signing-key.pub"), result / "verify-key.pub")
    (result / "facts.json").write_text(json.dumps(facts, indent=1, default=str) + "\n")
    extreme = 9 | lzma.PRESET_EXTREME
    with tarfile.open(result / "installation.tar.xz", "w:xz", preset=extreme) as archive:
        for name in ("keel.db", "mlflow.db", "mlartifacts", "spool"):
            archive.add(HOME / name, name)
    shutil.rmtree(HOME)
    key.unlink()
    key.with_name("keel-signing-key.pub").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
