"""The section on charts: its example draws, and the classes of drawings are listed and have rules."""

from __future__ import annotations

import re
from pathlib import Path

from keel.reports.charts import svg
from keel.reports.charts.style import DARK, LIGHT, RULES
from tests.unit.reports.charts.test_svg import ALL

PAGE = Path(__file__).parents[3] / "docs" / "reports.md"


def test_example_draws_what_it_says() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Charts\n")[2].partition("\n## ")[0]
    names: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], names)  # noqa: S102
    drawn = str(names["svg"])
    assert 'aria-label="The share of DL rose from 40% to 60%."' in drawn
    assert "60.0% → 40.0%" in drawn


def test_every_class_of_a_drawing_is_listed_and_has_a_rule() -> None:
    used = {
        name
        for chart in ALL
        for found in re.findall(r'class="([^"]+)"', svg.draw(chart, description=""))
        for name in found.split()
    }
    listed = set(re.findall(r"\b(?:[a-z]+|s\d)\b", svg.__doc__ or ""))
    assert used - listed == set()
    assert {name for name in used if f".{name}" not in RULES} == set()


def test_every_variable_of_the_rules_has_a_colour_in_light_and_dark() -> None:
    assert set(re.findall(r"var\((--[\w-]+)\)", RULES)) == set(LIGHT) == set(DARK)
