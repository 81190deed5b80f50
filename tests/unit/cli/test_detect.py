"""``keel detect``: two files compared, and what the exit code says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keel.cli import main as command_line


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of rows that did not change, changed, and became worse to predict."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    for name, shift, flip in (("march", 0.0, False), ("april", 0.0, False), ("june", 2.0, False), ("july", 0.0, True)):
        size = rng.normal(shift, 1, 600)
        chance = 1 / (1 + np.exp(-2 * size))
        late = rng.random(600) < chance
        frame = pd.DataFrame({"size": size, "gate": rng.integers(1, 4, 600), "chance": chance, "late": late ^ flip})
        frame.to_csv(folder / f"{name}.csv", index=False)
    frame.head(1).to_parquet(folder / "one.parquet")
    frame.head(0).to_csv(folder / "header.csv", index=False)
    return folder


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """A function that runs the command in the folder and returns its exit code, output and errors."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keel", "detect", *arguments])
        with pytest.raises(SystemExit) as ended:
            command_line.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["march.csv", "april.csv"], 0, "Nothing has drifted"),
        (["march.csv", "june.csv"], 1, "have drifted"),
        (["march.csv", "july.csv"], 0, "Nothing has drifted"),
        (["march.csv", "july.csv", "--target", "late", "--score", "chance"], 1, "Predictions have become worse"),
        (["march.csv", "june.csv", "--set", "drift_share=0.9"], 1, "have drifted"),
        (["march.csv", "one.parquet"], 1, "1 row of"),
    ],
)
def test_detect_exit_code_tells_drift_from_none(run, arguments, code, said):
    ended, output, _ = run(*arguments)
    assert (ended, said in " ".join(output.split())) == (code, True), output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["march.csv", "may.csv"], "may.csv: there is no such file; did you mean 'march.csv'?"),
        (["march.csv", "june.csv", "--set", "alhpa=0.1"], "did you mean 'alpha'"),
        (["march.csv", "june.csv", "--set", "alpha"], "--set alpha: takes NAME=VALUE"),
        (["march.csv", "june.csv", "--kind", "size=number"], "size: unknown kind 'number'"),
        (["march.csv", "june.csv", "--target", "lat"], "target: neither frame has a column 'lat'"),
        (["header.csv", "june.csv"], "header.csv: reference: needs at least 1 rows, got 0"),
    ],
)
def test_detect_of_a_wrong_argument_ends_with_2_and_names_it(run, arguments, said):
    ended, _, errors = run(*arguments)
    assert ended == 2
    assert said in errors
    assert "Traceback" not in errors


def test_detect_as_json_prints_one_document(run):
    ended, output, _ = run("march.csv", "june.csv", "--json", "--kind", "gate=numeric", "--set", "min_rows=100")
    found = json.loads(output)
    assert ended == 1
    assert (found["status"], found["kinds"]["gate"]) == (
        "drift",
        {"kind": "numeric", "reason": "As you said.", "given": True},
    )


def test_detect_to_html_writes_the_file_as_a_whole_and_says_its_size(run, tmp_path):
    path = tmp_path / "new" / "week.html"
    ended, output, errors = run("march.csv", "april.csv", "--html", str(path))
    document = path.read_text(encoding="utf-8")
    assert ended == 0
    assert output == ""
    assert f"wrote {path}, {len(document.encode()):,} bytes" in errors
    assert "Nothing has drifted" in document
    assert list(path.parent.iterdir()) == [path]


def test_detect_to_html_where_no_file_can_be_ends_with_3(run, tmp_path):
    (tmp_path / "file").write_text("")
    ended, _, errors = run("march.csv", "april.csv", "--html", str(tmp_path / "file" / "week.html"))
    assert ended == 3
    assert str(tmp_path / "file") in errors
