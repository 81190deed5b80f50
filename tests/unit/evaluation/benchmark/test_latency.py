"""Measuring versions: arithmetic and fairness on a clock of the test's own, the rest on real models and processes."""

from __future__ import annotations

import gc
import json
import math
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from keel import deployments
from keel.deployments.history import Status
from keel.errors import ArtifactChanged, ConfigError, InsufficientData, UnknownVersion
from keel.evaluation.benchmark.latency import (
    MIN_CALLS,
    BenchmarkResult,
    Latency,
    measure,
    measure_single_row,
    time_loading,
)
from keel.evaluation.benchmark.memory import StoredModel, folder_mb, measure_memory, size_mb
from keel.ledger import entries as ledger
from keel.rollout import benchmark as benchmarking
from keel.rollout.benchmark import MIN_ROWS, ROWS, benchmark_versions, choose_versions, recent_sample
from keel.workspace import Workspace
from tests.support.benchmark_world import CONFIG, END, NOW, two_versions
from tests.support.toy import DAY, START, toy_config, toy_rows

ONE = toy_rows(days=2)


class Clock:
    """Time that passes only when a version works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Timed:
    """A version whose calls take what ``seconds`` says, given the clock's time and the rows of the call."""

    def __init__(self, clock, seconds, calls=None):
        self.clock, self.seconds, self.calls = clock, seconds, [] if calls is None else calls

    def score(self, rows):
        self.calls.append((self, rows))
        self.clock.now += self.seconds(self.clock.now, rows.num_rows)


def timed(*seconds, shared=False):
    """Versions 1, 2, … on one clock; ``shared``: with one record of calls."""
    clock, calls = Clock(), [] if shared else None
    return clock, {i: Timed(clock, s, calls) for i, s in enumerate(seconds, start=1)}


def test_measure_counts_every_call_after_the_warm_up():
    clock, models = timed(lambda now, n: 1 / 256 if now else 9.0)
    found = measure(models, ONE, sizes=(1,), seconds=1, clock=clock)[1]
    assert (found.calls, found.batches) == (256, {})
    assert [found.p50_ms, found.p95_ms, found.p99_ms] == [1_000 / 256] * 3
    assert found.rows_per_second == pytest.approx(256)


def test_latency_has_the_percentiles_of_the_calls():
    spent = [i / 1_000 for i in range(1, 102)]
    assert Latency.of(1, spent) == Latency(1, 101, pytest.approx(51), pytest.approx(96), pytest.approx(100))


@pytest.mark.parametrize(("calls", "reached"), [(1, 0), (2, 1), (19, 1), (20, 2), (99, 2), (100, 3)])
def test_a_percentile_without_a_call_beyond_it_is_nan(calls, reached):
    found = Latency.of(1, [0.001] * calls)
    assert [math.isfinite(p) for p in (found.p50_ms, found.p95_ms, found.p99_ms)] == [i < reached for i in range(3)]


def test_each_batch_size_is_measured_and_throughput_is_the_highest():
    clock, models = timed(lambda now, n: 0.002 + n * 1e-5)
    found = measure(models, ONE, seconds=3, clock=clock)[1]
    assert found.p50_ms == pytest.approx(2.01)
    assert {rows: latency.p50_ms for rows, latency in found.batches.items()} == pytest.approx({100: 3.0, 1_000: 12.0})
    assert found.rows_per_second == pytest.approx(1_000 / 0.012)
    assert found.to_dict()["batch_1000_p50_ms"] == pytest.approx(12.0)
    assert found.to_dict()["calls"] == pytest.approx({"1": 498, "100": 334, "1000": 84}, abs=1)


def test_versions_take_turns_on_the_same_rows_in_random_order():
    clock, models = timed(lambda now, n: 0.01, lambda now, n: 0.01, shared=True)
    measure(models, ONE, sizes=(1,), seconds=1, clock=clock)
    calls = models[1].calls[6:]  # after the warm-up
    rounds = list(zip(calls[::2], calls[1::2], strict=True))
    assert all({a, b} == set(models.values()) and rows is others for (a, rows), (b, others) in rounds)
    first = sum(a is models[1] for (a, _), _ in rounds) / len(rounds)
    assert 0.3 < first < 0.7
    assert len({id(rows) for _, rows in calls}) == 50


def test_a_machine_that_slows_down_does_not_change_the_ratio():
    """Measured one after the other, the third version would seem some ten times as slow as the first."""

    def slowed(by):
        return lambda now, n: by * 0.001 * (1 + now)

    clock, models = timed(slowed(1.0), slowed(1.0), slowed(1.5))
    found = measure(models, ONE, sizes=(1,), seconds=20, clock=clock)
    assert found[2].p50_ms / found[1].p50_ms == pytest.approx(1.0, rel=0.05)
    assert found[3].p50_ms / found[1].p50_ms == pytest.approx(1.5, rel=0.05)


def test_measure_stops_after_its_time_but_not_before_the_minimum_of_calls():
    clock, models = timed(lambda now, n: 0.01, lambda now, n: 0.03)
    measure(models, ONE, sizes=(1, 100), seconds=4, clock=clock)
    assert clock.now == pytest.approx(8, abs=0.5)
    clock, models = timed(lambda now, n: 3.0)
    assert measure(models, ONE, sizes=(1,), seconds=4, clock=clock)[1].calls == MIN_CALLS


def test_batches_larger_than_the_rows_repeat_them():
    clock, models = timed(lambda now, n: 0.1)
    assert set(measure(models, ONE.slice(0, 7), sizes=(1, 100), seconds=1, clock=clock)[1].batches) == {100}
    assert {rows.num_rows for _, rows in models[1].calls} == {1, 100}


def test_the_same_seed_draws_the_same_rows():
    def drawn(seed):
        clock, models = timed(lambda now, n: 0.1)
        measure_single_row(models, ONE, seed=seed, clock=clock)
        return [rows["id"][0].as_py() for _, rows in models[1].calls]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("was_on", [True, False])
def test_the_garbage_collector_is_off_during_timing_and_restored_afterwards(was_on):
    seen = set()

    class Fails(Timed):
        def score(self, rows):
            seen.add(gc.isenabled())
            super().score(rows)
            if len(self.calls) == 8:
                raise ArithmeticError

    (gc.enable if was_on else gc.disable)()
    try:
        with pytest.raises(ArithmeticError):
            measure_single_row({1: Fails(Clock(), lambda now, n: 0.1)}, ONE)
        assert (gc.isenabled(), seen) == (was_on, {False})
    finally:
        gc.enable()


def test_measure_without_rows_raises():
    with pytest.raises(InsufficientData, match="rows to score: needs at least 1 rows, got 0"):
        measure_single_row({}, ONE.slice(0, 0))


def test_loading_is_timed_in_turns_after_a_first_load():
    clock, loaded = Clock(), []

    def load(version):
        clock.now += 60.0 if version not in loaded else version * 0.1
        loaded.append(version)

    assert time_loading(load, [1, 2], loads=3, clock=clock) == pytest.approx({1: 100, 2: 200})
    assert loaded == [1, 2] * 4


def test_a_missing_measurement_is_none_and_has_no_ratio():
    one = BenchmarkResult(2.0, 4.0, math.nan, 50, rows_per_second=500.0, size_mb=0.0)
    other = replace(one, p50_ms=3.0, memory_mb=5.0)
    assert json.loads(json.dumps(one.to_dict(), allow_nan=False)) == {
        "p50_ms": 2.0, "p95_ms": 4.0, "p99_ms": None, "rows_per_second": 500.0, "load_ms": None, "memory_mb": None,
        "size_mb": 0.0, "calls": {"1": 50},
    }  # fmt: skip
    assert other.ratios(one) == {
        "p50_ms": 1.5, "p95_ms": 1.0, "p99_ms": None, "rows_per_second": 1.0, "load_ms": None, "memory_mb": None,
        "size_mb": None,
    }  # fmt: skip
    assert other.summary == "3 ms a row, 500 rows/s, 5 MB of memory, 0 MB on disk"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Version 1 of the toy in production, version 2 a candidate, and a day of predictions."""
    folder = tmp_path_factory.mktemp("benchmark")
    two_versions(folder)
    return folder


@pytest.fixture
def ws(home):
    with Workspace.open(home=home, environment={}) as opened:
        yield opened


@pytest.mark.slow
def test_a_version_measured_twice_has_a_ratio_near_one(ws):
    model = ws.registry.load(CONFIG, 1)
    began = time.monotonic()
    found = measure_single_row({1: model, 2: ws.registry.load(CONFIG, 1, anew=True)}, ONE)
    assert time.monotonic() - began < 30  # two seconds, unless everybody else is at work here
    assert 0.5 < found[2].p50_ms / found[1].p50_ms < 2


@pytest.mark.slow
def test_five_milliseconds_more_are_found_on_a_busy_machine():
    class Quick:
        def score(self, rows):
            return rows["x"].to_numpy() > 0

    class Sleeping(Quick):
        def score(self, rows):
            time.sleep(0.005)
            return super().score(rows)

    found = measure_single_row({1: Quick(), 2: Quick(), 3: Sleeping()}, ONE)
    assert 0.5 < found[2].p50_ms / found[1].p50_ms < 2
    assert found[3].p50_ms - found[1].p50_ms > 4.5


@pytest.mark.slow
def test_benchmark_measures_versions_side_by_side_and_logs_them_to_mlflow(ws, tmp_path):
    report = benchmark_versions(ws, CONFIG, seconds=0.3).to_dict()

    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (list(report["versions"]), report["production"], report["baseline"]) == (["1", "2"], 1, 1)
    assert report["rows"] == ROWS
    assert report["window"] == {"start": "2026-02-08T22:00:00+00:00", "end": "2026-02-10T23:57:00+00:00"}
    for speed in report["versions"].values():
        assert 0 < speed["p50_ms"] <= speed["p95_ms"]
        assert speed["batch_1000_p50_ms"] > speed["p50_ms"] / 2
        assert speed["rows_per_second"] > 1_000 / speed["p50_ms"]
        assert 1 < speed["load_ms"] < 10_000
        assert 0 < speed["memory_mb"] < 100
        assert 0.001 < speed["size_mb"] < 1
    assert set(report["versions"]["1"]["ratios"].values()) <= {1.0, None}
    assert 0.3 < report["versions"]["2"]["ratios"]["p50_ms"] < 3
    assert "; a row takes " in report["sentence"]

    client = ws.registry.client
    for info in ws.registry.versions("toy"):
        logged = {k: v for k, v in client.get_run(info.run_id).data.metrics.items() if k.startswith("benchmark_")}
        speed = report["versions"][str(info.version)]
        assert logged == {
            f"benchmark_{k}": v for k, v in speed.items() if k not in ("calls", "ratios") and v is not None
        }
        kept = client.download_artifacts(info.run_id, "keel/benchmark.json", tmp_path)
        assert json.loads(Path(kept).read_text()) == report
        assert info.tags["keel.benchmark"].startswith(f"{speed['p50_ms']:.3g} ms a row, ")


def test_a_second_benchmark_is_logged_again_and_leaves_the_version_loadable(ws, monkeypatch):
    monkeypatch.setattr(benchmarking, "measure_memory", lambda config, stored, rows: dict.fromkeys(stored, 7.8))
    again = benchmark_versions(ws, CONFIG, [2], seconds=0.1).to_dict()
    assert (again["baseline"], again["production"]) == (2, 1)
    assert history_of_p50(ws)[-1].value == again["versions"]["2"]["p50_ms"]
    ws.registry.load(CONFIG, 2, anew=True)


def history_of_p50(ws, version=2):
    run_id = ws.registry.resolve("toy", version=version).run_id
    return ws.registry.client.get_metric_history(run_id, "benchmark_p50_ms")


def test_benchmark_without_versions_measures_the_deployed_ones_and_the_newest_candidate(ws, tmp_path):
    assert choose_versions(ws, CONFIG, ()) == [1, 2]
    assert choose_versions(ws, CONFIG, (2, 1)) == [2, 1]
    for newer in (Status.REJECTED, Status.CANDIDATE):
        note = {"actor": "tests", "action": ledger.Action.KEEP_CHAMPION, "body": {}, "now": NOW}
        deployments.append(ws.store, "toy", statuses={2: (newer, "for this test")}, **note)
        assert choose_versions(ws, CONFIG, ()) == ([1] if newer is Status.REJECTED else [1, 2])
    with Workspace.open(home=tmp_path, environment={}) as empty, pytest.raises(UnknownVersion) as error:
        choose_versions(empty, CONFIG, ())
    assert str(error.value).endswith("or train one: airflow dags trigger toy.retrain")


@pytest.mark.parametrize(
    ("versions", "error", "sentence"),
    [
        ([1, 9], UnknownVersion, "toy has no version 9; versions: 1, 2; aliases: production → 1"),
        ([1, 2, 1, 2], ConfigError, "toy: versions: 1, 2 named more than once"),
    ],
)
def test_versions_that_cannot_be_measured_are_refused_by_name(ws, versions, error, sentence):
    with pytest.raises(error) as raised:
        benchmark_versions(ws, CONFIG, versions)
    assert str(raised.value) == sentence
    assert error.exit_code == 2


def test_too_few_logged_predictions_raise_an_error_that_says_what_to_do(ws):
    early = START + timedelta(hours=4, minutes=56)  # 20 an hour
    for end, got in ((early, MIN_ROWS - 1), (START, 0), (START - 9_000 * DAY, 0)):
        with pytest.raises(InsufficientData, match=rf"run `keel replay`\): needs at least 100 rows, got {got}$"):
            benchmark_versions(ws, CONFIG, [1], end=end)


def test_the_last_rows_before_the_end_are_scored_in_random_order(ws):
    logged = pa.concat_tables([toy_rows(days=40), toy_rows(END, days=1)])
    morning = START + timedelta(hours=6)
    for end, first, after in ((None, 41 * 480 - ROWS, 41 * 480), (END, 40 * 480 - ROWS, 40 * 480), (morning, 0, 120)):
        rows = recent_sample(ws, CONFIG, end=end, seed=1)
        wanted = logged.slice(first, after - first).select(rows.column_names)
        assert rows != wanted
        assert rows.sort_by("time") == wanted
        assert rows == recent_sample(ws, CONFIG, end=end, seed=1) != recent_sample(ws, CONFIG, end=end, seed=2)


def test_rows_of_any_shape_are_scored(tmp_path, store_url):
    """Text where a number belongs, a column that was never sent, a stray row a year ahead; none with a version."""
    with Workspace.open(home=tmp_path, store_url=store_url, environment={}) as ws:
        log = ws.store.predictions("toy", dict(CONFIG.features))
        shapes = toy_rows(days=1).slice(0, 120).drop_columns(["label"])
        warm = pa.array(["warm"] + ["1.5"] * 39)
        log.append(shapes.slice(0, 40).set_column(shapes.column_names.index("x"), "x", warm))
        log.append(shapes.slice(40, 40).drop_columns(["z"]))
        ahead = pa.array([START + 400 * DAY], pa.timestamp("us", "UTC"))
        log.append(shapes.slice(80, 40))
        log.append(shapes.slice(0, 1).set_column(0, "id", pa.array(["stray"])).set_column(1, "time", ahead))
        rows = recent_sample(ws, CONFIG, end=None, seed=0).sort_by("time")
    assert rows.schema.names == ["time", "x", "z", "colour"]
    assert rows.num_rows == 121
    assert rows["x"].slice(0, 2).to_pylist() == [None, 1.5]
    assert (rows["x"].null_count, rows["z"].null_count, rows["colour"].null_count) == (1, 40, 0)


@pytest.mark.slow
def test_memory_and_size_are_measured_in_a_process_for_each_version(tmp_path):
    """One version carries eight million numbers more than the other; a third is not there."""
    import mlflow
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    config = toy_config(target={"name": "y", "kind": "regression"}, performance={"metric": "mae"})
    rows = toy_rows(days=5)
    places = {3: StoredModel(tmp_path / "gone", None)}
    for version, weight in ((1, 0), (2, 8_000_000)):
        estimator = make_pipeline(make_column_transformer(("passthrough", ["x"])), LinearRegression())
        estimator.fit(rows.select(["x"]).to_pandas(), rows["label"].to_numpy())
        estimator[-1].ballast_ = np.random.default_rng(0).random(weight)
        mlflow.sklearn.save_model(estimator, tmp_path / str(version), pip_requirements=["scikit-learn"])
        places[version] = StoredModel(tmp_path / str(version), None)

    found = measure_memory(config, places, rows)

    assert math.isnan(found[3])
    assert 0 < found[1] < 20
    assert 64 <= found[2] - found[1] < 64 * 3  # once in the estimator, and on the way to it in the file's bytes
    assert folder_mb(tmp_path / "2") - folder_mb(tmp_path / "1") == pytest.approx(64, rel=0.1)


def test_a_version_with_changed_files_is_not_measured(ws, home):
    [changed, *_] = home.glob("mlartifacts/toy/models/*/artifacts/model.skops")
    content = changed.read_bytes()
    measured = len(history_of_p50(ws))
    ws.registry.load(CONFIG, 1), ws.registry.load(CONFIG, 2)  # what was loaded before does not count
    changed.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(ArtifactChanged, match=r"differ from those registered.* model/model\.skops"):
            benchmark_versions(ws, CONFIG, seconds=0.1)
    finally:
        changed.write_bytes(content)
    assert len(history_of_p50(ws)) == measured


def test_the_size_is_that_of_the_model_without_reports(ws, home):
    [file, *_] = home.glob("mlartifacts/toy/models/*/artifacts/model.skops")
    size = size_mb(ws.registry, "toy", 1)
    assert file.stat().st_size / 1e6 < size < 2 * file.stat().st_size / 1e6
