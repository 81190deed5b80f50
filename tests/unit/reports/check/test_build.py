"""The page of a check, whatever of its records exists."""

from __future__ import annotations

from datetime import timedelta

from keel.reports.check import CheckData, page
from keel.reports.page import Paragraph
from keel.window import Window
from tests.support.toy import START, toy_config

WINDOW = Window(START, START + timedelta(days=7))


def test_page_without_any_record_says_what_is_missing() -> None:
    shown = page(CheckData(toy_config(), 1, WINDOW))
    assert shown.headline == "No report of this window is stored."
    assert shown.tag is not None
    assert shown.tag.text == "not checked"
    texts = {section.title: section.blocks[0] for section in shown.sections}
    for title in ("Does it hurt?", "Columns", "Data quality", "Labels", "What was decided"):
        block = texts[title]
        assert isinstance(block, Paragraph), title
        assert "stored" in block.text, title
    assert "keel report toy --window 2026-01-01T00:00Z/2026-01-08T00:00Z --json" in shown.footer[-1]
