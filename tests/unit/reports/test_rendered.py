"""A result with a page shows itself wherever it is looked at."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from keel.reports.page import Page
from keel.reports.rendered import Rendered

NAME = "<img src=x onerror=alert(1)>"


@dataclass(frozen=True, repr=False)
class Result(Rendered):
    """A result with a page that holds markup."""

    def page(self) -> Page:
        return Page(title="t", eyebrow="model", headline=f"All is well with {NAME}.")


def test_to_html_writes_what_it_returns(tmp_path):
    path = tmp_path / "week.html"
    assert Result().to_html(path) is None
    assert path.read_text(encoding="utf-8") == Result().to_html()
    assert Result().to_html().startswith("<!doctype html>")


def test_to_html_to_a_folder_that_is_missing_names_it_and_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-folder"):
        Result().to_html(tmp_path / "no-folder" / "week.html")
    assert list(tmp_path.iterdir()) == []


def test_text_of_a_result_is_its_page():
    printed = io.StringIO()
    Console(file=printed, width=100).print(Result())
    for text in (str(Result()), repr(Result()), printed.getvalue()):
        assert f"All is well with {NAME}." in text


def test_notebook_shows_the_page_in_a_frame_without_its_markup():
    frame = Result()._repr_html_()
    assert frame.startswith("<iframe")
    assert "<img" not in frame
    assert "<img" not in Result().to_html().replace("&lt;img", "")
    assert "\\<img" in Result().to_markdown()
