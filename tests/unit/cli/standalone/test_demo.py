"""What the demo may delete, and what it prints at its end."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from keel.cli.standalone.demo import DemoFailed, empty
from keel.cli.standalone.demo_report import print_performance


@pytest.mark.parametrize("name", ["airflow", "keel.db", "thesis"])
def test_empty_refuses_a_folder_with_other_contents(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("years of work")
    with pytest.raises(DemoFailed, match="name another folder"):
        empty(tmp_path)
    assert (tmp_path / name / "mine").read_text() == "years of work"


def test_empty_creates_a_new_folder_and_empties_its_own(tmp_path):
    home = tmp_path / "deep" / "demo"
    empty(home)
    left = home / "keel.db"
    left.write_text("of the first demo")
    empty(home)
    assert not left.exists()
    empty(home)


def test_empty_marks_an_empty_folder(tmp_path):
    empty(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["emptied-by-keel-demo"]


def test_print_performance_prints_month_version_and_baseline():
    known = {"value": 0.19703, "lower": 0.13267, "upper": 0.26138, "holdout": {"value": 0.15686}}
    unknown = {"value": None, "lower": None, "upper": None, "holdout": None}
    parts = [
        {
            "start": f"2013-0{month}-01T00:00:00+00:00",
            "version": version,
            "predictions": n,
            "labelled": n - 1,
            "metric": "brier",
            "metrics": {"brier": found, "accuracy": {}},
        }
        for month, version, n, found in ((4, 1, 28_353, known), (5, 3, 2, unknown))
    ]
    written = io.StringIO()
    print_performance(Console(file=written, width=80), parts)
    head, *lines = [line.split() for line in written.getvalue().splitlines()]
    assert "".join(head) == "monthversionansweredlabelledbrier95%baseline"
    assert lines == [
        ["2013-04", "1", "28,353", "28,352", "0.1970", "0.1327", "to", "0.2614", "0.1569"],
        ["2013-05", "3", "2", "1", "–", "–", "to", "–", "–"],
    ]
