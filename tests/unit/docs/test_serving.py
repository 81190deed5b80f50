"""docs/serving.md says what is there: its request is one, its tables are whole."""

from __future__ import annotations

import json
import re

from keel.config import get_model
from keel.serving.api_keys import read_keys
from keel.serving.http.app import create_app
from keel.serving.http.json_requests import parse
from keel.serving.metrics import Metrics
from keel.serving.models.input_schema import Inputs
from keel.serving.prediction_log.records import PredictionBlock, packed
from keel.serving.scoring.answers import Answer
from keel.serving.service import Service
from keel.serving.settings import _VARIABLES, Settings
from tests.support.paths import PROJECT
from tests.support.toy import toy_config

PAGE = (PROJECT / "docs" / "serving.md").read_text()
NOON = 1_777_630_500_000_000


def block(info):
    [body] = re.findall(rf"^```{info}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return body


def rows(heading):
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:3] == "| `"
    ]


def test_the_request_is_one_and_the_answer_has_its_keys():
    config = get_model("flight_delay")
    found = parse(
        block("json request").encode(), "application/json", Inputs.of(config, config.features), clock=lambda n: NOON
    )
    assert found.entities == ["N14228"]
    answered = PredictionBlock(config.model, found.ids, found.times, [3], packed([0.29]), packed([0.0]))
    made, shown = json.loads(Answer(answered, [[0.71, 0.29]]).body()), json.loads(block("json answer"))
    assert {**shown["keel"], "ids": 0, "times": 0} == {**made["keel"], "ids": 0, "times": 0}
    assert shown["predictions"] == made["predictions"]


def test_the_keys_are_read(tmp_path):
    path = tmp_path / "keys"
    path.write_text(block("text keys"))
    assert list(read_keys(path)) == ["web-shop", "prometheus"]


def test_every_setting_is_there_with_its_default():
    shown = {name.strip("`"): default.strip("`") for name, _, default, _ in rows("Settings")}
    defaults = Settings()
    assert set(shown) == set(_VARIABLES) - {"KEEL_HOME"}
    for name, (field, read) in _VARIABLES.items():
        if name in shown and field not in ("spool", "keys_file"):
            assert read(name, shown[name]) == getattr(defaults, field), name


def test_every_metric_is_there_with_its_labels():
    metrics = Metrics()
    made = {}
    for family in metrics.registry._names_to_collectors.values():
        name = family._name + ("_total" if family._type == "counter" else "")
        made[name] = set(family._labelnames)
    shown = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows("Metrics")}
    assert shown == made


def test_every_path_is_there():
    service = Service(Settings(), configured={"toy": toy_config()})
    made = {(*route.methods - {"HEAD"}, route.path.replace("{model}", "<model>")) for route in
            create_app(Settings(), service=service).routes}  # fmt: skip
    shown = set(re.findall(r"`(GET|POST) (/[\w/<>]+)`", PAGE))
    assert shown == made
