"""The picture of a chart: a PNG with text in it, in few bytes, the same on every machine."""

from __future__ import annotations

import importlib.util
import struct
import subprocess
import sys

import pytest

from keel.errors import KeelError
from keel.reports.charts.png import png
from keel.reports.charts.specs import Bar, Categories, Chart, Histogram
from tests.unit.reports.charts.test_svg import ALL, CATEGORIES, HISTOGRAM, kinds


def pixels(picture: bytes) -> tuple[int, int]:
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", picture[16:24])


@kinds
def test_png_is_a_small_picture_of_the_wanted_width(chart: Chart) -> None:
    picture = png(chart, description="", width=400, scale=2)
    assert pixels(picture)[0] == 800
    assert len(picture) < 40_000


def test_png_same_chart_gives_the_same_bytes() -> None:
    assert png(HISTOGRAM, description="", scale=1) == png(HISTOGRAM, description="", scale=1)


def test_png_title_and_legend_are_above_the_chart() -> None:
    plain = png(HISTOGRAM, description="", scale=1)
    titled = png(HISTOGRAM, description="", scale=1, title="temp drifted", legend=("reference", "week to 1 July"))
    assert pixels(titled)[1] - pixels(plain)[1] == 42
    assert len(titled) > len(plain)


@pytest.mark.parametrize("name", ["<b>&\"'", "日本航空", "x" * 100_000, "\x00\ud800"])
def test_png_of_any_name_is_a_picture(name: str) -> None:
    chart = Categories(name, (Bar(name, 0.5, 0.5),))
    assert pixels(png(chart, description=name, scale=1, title=name, legend=(name, name)))[0] == 560


def test_png_without_values_is_a_picture_that_says_so() -> None:
    empty = png(Histogram("x", (), None, ()), description="", scale=1)
    assert pixels(empty)[1] > 40


def test_png_without_the_font_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from keel.reports.charts import png as module

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    module.font.cache_clear()
    try:
        with pytest.raises(KeelError, match=r"font is missing: matplotlib is not installed; install .*requirements"):
            png(CATEGORIES, description="")
    finally:
        module.font.cache_clear()


def test_png_without_the_library_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(KeelError, match=r"resvg-py is not usable .*requirements"):
        png(CATEGORIES, description="")


def test_drawing_imports_neither_matplotlib_nor_the_library_for_pictures() -> None:
    code = (
        "import sys; from keel.reports.charts import png, svg; import keel.reports.distributions; "
        "print([m for m in ('matplotlib', 'PIL', 'resvg_py', 'airflow', 'mlflow', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
    assert len(ALL) == 6
