"""Every renderer on a page with every block and every chart."""

from __future__ import annotations

import pytest

from keel.reports import html, markdown, text
from tests.support.reports.sample_page import every_block

RENDERERS = [html.render, html.notebook, text.plain, markdown.render]


@pytest.mark.parametrize("render", RENDERERS)
def test_every_renderer_on_the_same_page_gives_the_same_text(render):
    assert render(every_block()) == render(every_block())


@pytest.mark.parametrize("render", [html.render, text.plain, markdown.render])
def test_every_renderer_shows_every_block(render):
    shown = render(every_block("pressure"))
    for words in [
        "week to 1 July 2013",
        "version 3 was promoted.",
        "Input drift explains",
        "8 of 15",
        "columns drifted",
        "Performance since April",
        "pressure",
        "PSI 3.62",
        "Version 3 is closer to the diagonal.",
        "better",
        "run 41",
        "How it was compared",
        "another",
        "92.7%",
        "airflow dags trigger flight_delay.rollback",
        "ledger#12",
        "level 1%",
    ]:
        assert words in shown, words
