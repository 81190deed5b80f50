"""What the demo may delete, and what it must find."""

from __future__ import annotations

import pytest

from keel.cli.demo import DemoFailed, empty


@pytest.mark.parametrize("name", ["airflow", "keel.db", "thesis"])
def test_a_folder_that_is_no_demo_is_not_touched(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("years of work")
    with pytest.raises(DemoFailed, match="is no demo of Keel: name another folder"):
        empty(tmp_path)
    assert (tmp_path / name / "mine").read_text() == "years of work"


def test_a_new_folder_is_made_and_emptied_the_next_time(tmp_path):
    home = tmp_path / "deep" / "demo"
    empty(home)
    left = home / "keel.db"
    left.write_text("of the first demo")
    empty(home)
    assert not left.exists()
    empty(home)


def test_an_empty_folder_is_taken(tmp_path):
    empty(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["emptied-by-keel-demo"]
