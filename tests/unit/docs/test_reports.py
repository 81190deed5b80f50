"""docs/reports.md: its blocks of Python run, in the order of the page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.paths import PROJECT
from tests.unit.docs.test_pages import FENCE

if TYPE_CHECKING:
    import pytest

PAGE = PROJECT / "docs" / "reports.md"


def test_every_block_that_says_so_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    found = [block["body"] for block in FENCE.finditer(PAGE.read_text()) if block["info"] == "python run"]
    assert found
    namespace: dict[str, object] = {"__name__": "docs"}
    for body in found:
        exec(compile(body, str(PAGE), "exec"), namespace)
    assert "# Version 3 is better." in capsys.readouterr().out
    assert (tmp_path / "new.html").stat().st_size > 10_000
    assert (tmp_path / "version-3.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_three_lines_of_the_readme_give_a_report():
    [body] = [
        block["body"]
        for block in FENCE.finditer((PROJECT / "README.md").read_text())
        if block["info"] == "python detect"
    ]
    assert len([line for line in body.splitlines() if line]) == 3
    namespace = {"reference": {"x": [1.5] * 40}, "current": {"x": [2.5] * 40}}
    exec(compile(body, "README.md", "exec"), namespace)
    assert "1 of 1 column has drifted" in repr(namespace["report"])
