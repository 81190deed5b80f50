"""The words of the page of two compared tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import keel
from keel.reports.text import plain

N = 400


def table(seed, *, rate=0.3, score=0.3, quality=0.2):
    """Rows whose label is 1 at a rate, with scores around a mean that follow the label, better or worse."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(N) < rate * N).astype(int)
    scores = np.clip(score + quality * (label - rate) + rng.normal(0, 0.1, N), 0, 1)
    return pd.DataFrame({"x": rng.normal(0, 1, N), "y": label, "p": scores})


BEFORE, MOVED = table(0), table(1, rate=0.8, score=0.8)


def test_headline_of_a_changed_target_does_not_call_it_an_output():
    page = keel.detect(BEFORE.drop(columns="p"), MOVED.drop(columns="p"), target="y").page()
    assert page.headline == "The inputs have not drifted, but the target has changed (y)."
    assert "the target has changed (y)" in page.facts[0].lines


def test_headline_of_a_changed_target_and_score_names_both_and_has_one_but():
    page = keel.detect(BEFORE, MOVED, target="y", score="p").page()
    assert page.headline == (
        "The inputs have not drifted, but the target has changed (y) and the outputs have changed (p), and predictions "
        "are not shown to be worse."
    )


def test_sentence_of_harm_tells_the_tolerance_apart_from_the_bound():
    bad = table(1, quality=-0.3)
    report = keel.detect(BEFORE, bad, target="y", score="p", max_degradation=0.1)
    assert report.degraded
    text = " ".join(str(report).split())
    assert "worse, more than the tolerated 0.1; with 95% confidence at least +" in text


@pytest.mark.parametrize("limit", [None, 0.5])
def test_rule_names_the_limit_of_the_impact_where_there_is_one(limit):
    report = keel.detect(BEFORE, MOVED, target="y", score="p", max_impact=limit)
    said = "or the changes of the inputs together cost 0.5 or more" in " ".join(str(report).split())
    assert said == (limit is not None)


def test_plain_of_columns_without_drift_takes_a_line_each():
    wide = {f"x{i}": np.random.default_rng(i).normal(0, 1, N) for i in range(12)}
    page = keel.detect(wide, {**wide, "x0": wide["x0"] + 2}).page()
    lines = plain(page).splitlines()
    rows = [line for line in lines[: lines.index("How the data was read")] if line.startswith("x")]
    assert len(rows) == 12
    first = lines.index(rows[1])
    assert lines[first : first + 11] == rows[1:], "only the drifted column is drawn, over two lines"


def test_causes_of_correlated_inputs_that_sum_to_an_impossible_change_are_not_told():
    rng = np.random.default_rng(0)
    base = rng.normal(0, 1, 3_000)
    label = (rng.random(3_000) < 1 / (1 + np.exp(-base))).astype(int)
    copies = {f"x{i}": base + rng.normal(0, 0.05, 3_000) for i in range(10)}
    frame = pd.DataFrame({**copies, "y": label, "p": 1 / (1 + np.exp(-base))})
    moved = frame.sample(3_000, replace=True, weights=np.exp(1.5 * base), random_state=1)
    report = keel.detect(frame, moved, target="y", score="p")
    text = " ".join(str(report).split())
    assert "What the changed inputs explain of it cannot be told" in text
    assert report.page().lead.startswith("The Brier score is 0.1")
