"""`keel.detect` on tables of every form, and on bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import keel
from keel.errors import ConfigError, GridMismatch, InsufficientData
from keel.grid.reference import ReferenceGrid
from keel.monitoring import drift
from tests.support.paths import PROJECT

N = 240
START = datetime(2024, 3, 4, tzinfo=UTC)


def columns(n=N, seed=0, shift=0.0, **more):
    rng = np.random.default_rng(seed)
    return {
        "size": rng.normal(shift, 1, n),
        "colour": rng.choice(["red", "green", "blue"], n),
        "open": rng.random(n) < 0.5,
        **more,
    }


BEFORE, AFTER = pd.DataFrame(columns()), pd.DataFrame(columns(seed=1, shift=2))
EXPECTED = keel.detect(BEFORE, AFTER).to_dict()


class Stream:
    """An object that offers its rows as Arrow's stream and nothing else."""

    def __init__(self, frame):
        self._table = pa.Table.from_pandas(frame, preserve_index=False)

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


def to_reader(frame):
    return pa.Table.from_pandas(frame, preserve_index=False).to_reader(max_chunksize=50)


FORMS = {
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "table": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "batch": lambda frame: pa.RecordBatch.from_pandas(frame, preserve_index=False),
    "reader": to_reader,
    "stream": Stream,
    "mapping": lambda frame: {name: frame[name].to_numpy() for name in frame},
}


@pytest.mark.parametrize("form", FORMS)
def test_detect_of_any_form_is_the_same_report(form):
    assert keel.detect(FORMS[form](BEFORE), AFTER).to_dict() == EXPECTED
    assert keel.detect(BEFORE, FORMS[form](AFTER)).to_dict() == EXPECTED


def without_sides(report):
    return {key: value for key, value in report.items() if key not in {"reference", "current", "kinds"}}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz"])
def test_detect_of_files_is_the_same_report_under_their_names(tmp_path, suffix):
    paths = [tmp_path / f"{name}.{suffix}" for name in ("march", "june")]
    for path, frame in zip(paths, (BEFORE, AFTER), strict=True):
        frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    found = keel.detect(paths[0], str(paths[1])).to_dict()
    assert without_sides(found) == without_sides(EXPECTED)
    assert (found["reference"]["label"], found["current"]["label"]) == (f"march.{suffix}", f"june.{suffix}")
    mixed = keel.detect(paths[0], AFTER).to_dict()
    assert without_sides(mixed) == without_sides(EXPECTED)


def test_detect_of_tables_is_detect_of_their_grid_and_counts():
    kinds = {"size": "numeric", "colour": "categorical", "open": "categorical"}
    grid = ReferenceGrid.fit(BEFORE, kinds)
    counts = grid.count(AFTER)
    config = keel.DriftConfig(min_rows=30)
    expected = drift.detect(grid, counts, config)
    found = keel.detect(BEFORE, AFTER)
    assert drift.DriftReport.to_dict(found) == expected.to_dict()
    assert keel.detect(grid, counts, config).to_dict() == expected.to_dict()
    assert keel.detect(grid, AFTER, config).to_dict() == expected.to_dict()
    assert found.column("size").severity == "drift"
    assert found.kinds == kinds


def test_detect_of_foreign_counts_raises():
    grid, other = (ReferenceGrid.fit(frame, {"size": "numeric"}) for frame in (BEFORE, AFTER))
    with pytest.raises(GridMismatch):
        keel.detect(grid, other.count(AFTER))
    with pytest.raises(ConfigError, match="ReferenceGrid that they were counted on"):
        keel.detect(BEFORE, grid.count(AFTER))
    with pytest.raises(ConfigError, match="are for two tables"):
        keel.detect(grid, AFTER, target="size")


def test_detect_shows_itself_in_a_terminal_a_notebook_and_files(tmp_path):
    report = keel.detect(BEFORE, AFTER)
    assert "1 of 3 columns has drifted (size)" in repr(report)
    assert report._repr_html_().startswith("<iframe")
    report.to_html(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == report.to_html()
    assert report.to_markdown().startswith("#")
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()


@pytest.mark.slow
def test_detect_and_compare_import_neither_airflow_nor_mlflow_and_need_no_home(tmp_path):
    code = (
        "import sys, keel; r = keel.detect({'x': [1.5] * 40}, {'x': [2.5] * 40}); r.to_html(); str(r); r.to_markdown();"
        "keel.compare([0, 1] * 50, [0.4, 0.6] * 50, [0.3, 0.7] * 50).to_html();"
        "print([m for m in sys.modules if m.split('.')[0] in {'airflow', 'mlflow', 'sqlalchemy'}])"
    )
    environment = {"PYTHONPATH": str(PROJECT / "include"), "KEEL_HOME": str(tmp_path / "none"), "PATH": "/usr/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def scored(n, seed, *, flipped=False, days=20):
    """Rows with a label that the score predicts well, or in the opposite direction."""
    rng = np.random.default_rng(seed)
    size = rng.normal(0, 2, n)
    chance = 1 / (1 + np.exp(-size))
    label = (rng.random(n) < chance).astype(int)
    at = [START + timedelta(hours=float(h)) for h in np.linspace(0, 24 * days - 1, n)]
    return pd.DataFrame({"size": size, "chance": chance, "late": 1 - label if flipped else label, "at": at})


def test_detect_with_target_and_score_measures_performance_and_impacts():
    roles = {"target": "late", "score": "chance"}
    good, bad = (keel.detect(scored(800, 0), scored(800, 1, flipped=f), **roles) for f in (False, True))
    assert (good.degraded, bad.degraded) == (False, True)
    performance = bad.to_dict()["performance"]
    assert performance["metric"] == "brier"
    label, chance = (scored(800, 1, flipped=True)[name] for name in ("late", "chance"))
    assert performance["current"]["brier"]["value"] == pytest.approx(((label - chance) ** 2).mean())
    assert performance["explained"] + performance["unexplained"] == pytest.approx(performance["loss_change"])
    assert {name: column.measured.role for name, column in ((c.name, c) for c in bad.columns)} == {
        "size": "feature", "late": "output", "chance": "output"
    }  # fmt: skip
    assert "Predictions have become worse" in bad.page().headline
    assert all(column.measured.impact is not None for column in bad.columns)
    assert "at" not in {column.name for column in bad.columns}, "dates always move on"


@pytest.mark.parametrize(
    ("label", "given", "metric"),
    [
        ("late", {"score": "chance"}, "brier"),
        ("late", {"score": "size"}, "roc_auc"),
        ("late", {"prediction": "decided"}, "accuracy"),
        ("minutes", {"prediction": "guess"}, "mae"),
        ("minutes", {"score": "guess", "metric": "rmse"}, "rmse"),
    ],
)
def test_detect_chooses_the_metric_by_the_values(label, given, metric):
    frame = scored(300, 0).assign(
        decided=lambda f: f["chance"] > 0.5, minutes=lambda f: 10 * f["size"], guess=lambda f: 9 * f["size"] + 1
    )
    measured = keel.detect(frame, frame, target=label, **given).to_dict()["performance"]
    assert (measured["metric"], measured["status"]) == (metric, "ok")


def test_detect_with_time_has_spans_clustered_errors_and_histories():
    before, after = scored(600, 0), scored(600, 1)
    bad_day = after["at"].dt.day % 5 == 0
    after["late"] = after["late"].where(~bad_day, 1 - after["late"])
    roles = {"target": "late", "score": "chance"}
    plain = keel.detect(before, after, **roles).to_dict()["performance"]["current"]["brier"]
    report = keel.detect(before, after.sample(frac=1, random_state=0), time="at", **roles)
    clustered = report.to_dict()["performance"]["current"]["brier"]
    assert clustered["value"] == pytest.approx(plain["value"])
    assert clustered["standard_error"] > plain["standard_error"]
    assert (report.frames.period, len(report.frames.periods)) == ("day", 20)
    assert sum(period.n for period in report.frames.periods) == 600
    assert report.to_dict()["current"]["span"][0].startswith("2024-03-04")
    assert "4 to 23 March 2024" in report.page().eyebrow
    plain_counts = keel.detect(before, after, kinds={"at": "ignore"}, **roles).counts
    assert (report.counts.cells == plain_counts.cells).all(), "the days add up to all rows"


def test_detect_with_a_target_alone_shows_its_base_rate():
    report = keel.detect(scored(300, 0), scored(300, 1), target="late")
    assert report.to_dict()["performance"] is None
    labels = report.to_dict()["current"]["labels"]
    assert labels == {"n": 300, "rows": 300, "mean": pytest.approx(scored(300, 1)["late"].mean()), "binary": True}
    assert "Base rate" in str(report)


def test_detect_without_labels_now_says_so():
    report = keel.detect(scored(300, 0), scored(300, 1).drop(columns="late"), target="late", score="chance")
    assert any("has no column 'late', so the performance is not known" in note for note in report.to_dict()["notes"])
    assert not report.degraded


@pytest.mark.parametrize(
    ("reference", "current", "arguments", "said"),
    [
        ({"a": [1]}, {"b": [1]}, {}, r"no column in common: 'a' and 'b'; rename"),
        ({"a": [[1]] * 9}, {"a": [[1]] * 9}, {}, r"can be compared: a: Its values are of type list<item: int64>"),
        ({"a": [1]}, {"a": [1]}, {"kinds": {"b": "numeric"}}, r"kinds: neither frame has a column 'b'"),
        (
            {"a": [1]},
            {"a": [1]},
            {"kinds": {"a": "nominal"}},
            r"a: unknown kind 'nominal'.*categorical, ignore",
        ),
        ({"late": [1]}, {"late": [1]}, {"target": "lat"}, r"target: neither frame has a column 'lat'; did you mean"),
        ({"a": [1]}, {"a": [1]}, {"target": "a", "score": "a"}, r"one column has two roles"),
        ({"a": [1]}, {"a": [1]}, {"alhpa": 0.1}, r"alhpa.*did you mean 'alpha'"),
        ({"a": [1]}, {"a": [1]}, {"alpha": 2}, r"alpha"),
        ({"a": [1]}, {"a": [1]}, {"columns": "a"}, r"columns: takes a list of names"),
        ({"a": [1], "b": [1]}, {"a": [1], "b": [1]}, {"time": "a"}, r"column 'a' holds 1, which is no time"),
        ({"a": [1, 2], "b": [1]}, {"a": [1]}, {}, r"reference: cannot be read as a table"),
        ([1, 2], {"a": [1]}, {}, r"reference: is a list; pass a pandas or polars DataFrame"),
        ({"a": [1]}, None, {}, r"current: is a NoneType; pass"),
        ("nowhere.parquet", {"a": [1]}, {}, r"nowhere.parquet: there is no such file"),
    ],
)
def test_detect_of_bad_arguments_names_them(reference, current, arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        keel.detect(reference, current, **arguments)


def test_detect_of_a_target_that_is_no_number_names_a_value():
    frame = scored(60, 0).assign(late="yes")
    with pytest.raises(ConfigError, match=r"target: reference: column 'late' holds 'yes', which is no number"):
        keel.detect(frame, frame, target="late", score="chance")


def test_detect_of_an_empty_reference_raises_and_of_no_rows_now_is_insufficient():
    with pytest.raises(InsufficientData):
        keel.detect(BEFORE.head(0), AFTER)
    assert keel.detect(BEFORE, AFTER.head(0)).status == "insufficient"


def text_of(report):
    report.to_html()
    return str(report)


BAD = {
    "one_row": ({"a": [1.5]}, {"a": [2.5]}, "1 row of current is too few"),
    "one_row_before": ({"a": [1.5]}, {"a": [2.5, 3.5] * 50}, "1 row of reference is too few"),
    "few_rows_before": ({"a": [1.5] * 29}, {"a": [9.5, 8.5] * 50}, "29 rows of reference are too few"),
    "constant": ({"a": [7.5] * 90}, {"a": [7.5] * 90}, "nothing has drifted"),
    "left_constant": ({"a": [7.5] * 90}, {"a": [8.5] * 90}, "1 of 1 column has drifted"),
    "all_missing": ({"a": [None] * 90}, {"a": [None] * 90}, "nothing has drifted"),
    "gone_missing": ({"a": [1.5, 2.5] * 45}, {"a": [None] * 90}, "all values missing"),
    "mixed": ({"a": [1, "x", 2.5] * 30}, {"a": [1, "x", None] * 30}, "Values of several types"),
    "type_changed": ({"a": [1.5, 2.5] * 45}, {"a": ["x", "y"] * 45}, "type changed"),
    "nested": ({"a": [[1]] * 90, "b": [1.5] * 90}, {"a": [[1]] * 90, "b": [1.5] * 90}, "1 column left out: a"),
    "only_before": ({"a": [1.5] * 90, "b": [1.5] * 90}, {"a": [1.5] * 90}, "'b' is only in reference"),
    "only_now": ({"a": [1.5] * 90}, {"a": [1.5] * 90, "b": [1.5] * 90}, "'b' is only in current"),
    "infinite": ({"a": [1.5, 2.5] * 45}, {"a": [1.5, float("inf")] * 45}, "infinite"),
    "markup": ({"<img src=x onerror=y>": [1.5] * 90}, {"<img src=x onerror=y>": [1.5] * 90}, "<img src=x onerror=y>"),
    "intervals": (
        pd.DataFrame({"a": pd.cut([0.5, 1.5] * 45, [0, 1, 2]), "b": 1.5}),
        pd.DataFrame({"a": pd.cut([1.5, 1.5] * 45, [0, 1, 2]), "b": 1.5}),
        "1 column left out: a",
    ),
    "huge": (
        {"a": [2**62 + 3 * i for i in range(90)], "b": [1.5] * 90},
        {"a": [2**62 + 10**6 + 3 * i for i in range(90)], "b": [1.5] * 90},
        "1 column left out: a",
    ),
    "ids": (
        {"a": [f"n{i}" for i in range(90)], "b": [1.5] * 90},
        {"a": [f"m{i}" for i in range(90)], "b": [1.5] * 90},
        "1 column left out: a",
    ),
    "long": ({"a": ["x" * 100_000, "y"] * 45}, {"a": ["x" * 100_000, "z"] * 45}, "new categories"),
}


@pytest.mark.parametrize("case", BAD)
def test_detect_of_bad_data_names_it_and_draws_the_page(case):
    reference, current, said = BAD[case]
    report = keel.detect(reference, current)
    assert said in " ".join(text_of(report).replace("\n", " ").split()).replace("Nothing", "nothing")
    document = report.to_html()
    assert "<img" not in document
    assert len(document) < 1_000_000


def test_detect_of_duplicate_columns_reads_the_first_and_says_so():
    twice = pd.DataFrame([[1.5, 9.0]] * 90, columns=["a", "a"])
    report = keel.detect(twice, pd.DataFrame({"a": [1.5] * 90}))
    assert report.status == "ok"
    assert any("reference has several columns 'a'" in note for note in report.to_dict()["notes"])
    table = pa.table([pa.array([1.5] * 90), pa.array([9.0] * 90)], names=["a", "a"])
    assert keel.detect(table, table).column("a").measured.current.maximum == 1.5


def test_detect_of_names_that_are_no_texts_or_composed_otherwise_is_by_their_text():
    composed, decomposed = "gr" + chr(0xF6) + "sse", "gro" + chr(0x308) + "sse"
    before = pd.DataFrame({0: [1.5] * 90, composed: [2.5] * 90, ("a", "b"): [1.5] * 90})
    after = pa.table({"0": [1.5] * 90, decomposed: [2.5] * 90, "a / b": [1.5] * 90})
    report = keel.detect(before, after)
    assert sorted(column.name for column in report.columns) == ["0", "a / b", composed]
    assert report.status == "ok"


def test_detect_with_columns_and_kinds_compares_what_is_asked():
    report = keel.detect(BEFORE, AFTER, columns=["size", "open"], kinds={"open": "numeric"})
    assert report.kinds == {"size": "numeric", "open": "numeric"}


def test_detect_of_a_parquet_file_with_nested_columns_and_dates(tmp_path):
    table = pa.table({"x": [1.5] * 90, "s": [{"a": 1}] * 90, "d": [START] * 90})
    pq.write_table(table, tmp_path / "a.parquet")
    report = keel.detect(tmp_path / "a.parquet", tmp_path / "a.parquet")
    assert report.kinds == {"x": "numeric", "s": "ignore", "d": "ignore"}
    assert (report.frames.reference.label, report.frames.current.label) == ("reference", "current")
