"""Reading the last predictions, whatever a caller logged."""

from __future__ import annotations

import pyarrow as pa
import pytest

from keel.training.datasets import recent_predictions, recent_rows
from keel.workspace import Workspace
from tests.support.toy import START, toy_config

CONFIG = toy_config()


@pytest.fixture
def ws(new_home, tmp_path):
    with Workspace.open(home=new_home(tmp_path), environment={}) as opened:
        yield opened


def log(ws, name, prediction):
    """Log one row with this prediction."""
    times = pa.array([START], pa.timestamp("us", "UTC"))
    row = {"id": [name], "time": times, "version": [1], "score": [0.5], "prediction": [prediction]}
    ws.predictions(CONFIG).append(pa.table({**row, "x": [0.5], "z": [1.0], "colour": ["red"]}))


def test_recent_rows_with_a_prediction_that_is_no_number_are_read(ws):
    log(ws, "a", 1.0)
    log(ws, "b", "yes")

    assert recent_rows(ws, CONFIG)["x"].to_pylist() == [0.5, 0.5]
    assert recent_predictions(ws, CONFIG, 10)["prediction"].to_pylist() == [1.0, None]
