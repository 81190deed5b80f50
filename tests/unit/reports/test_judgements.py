"""The pages of real judgements, the demo's, as files that a person has looked at."""

from __future__ import annotations

import json

import pytest

from keel.reports import comparison
from keel.reports.html import render
from keel.reports.production import experiment
from tests.support.reports.goldens import FOLDER, require_golden

BUILDERS = {
    "comparison_pass": comparison.page,
    "comparison_fail": comparison.page,
    "experiment_no_difference": experiment.page,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_page_of_a_stored_judgement_is_the_golden_file(name):
    stored = json.loads((FOLDER / "judgements" / f"{name}.json").read_text())
    require_golden(f"judgements/{name}", render(BUILDERS[name](stored)))


def test_no_judgement_is_without_a_test():
    assert {path.stem for path in (FOLDER / "judgements").iterdir()} == set(BUILDERS)
