"""docs/serving.md against the code: its example request parses, and its tables are complete."""

from __future__ import annotations

import json
import re

from keel.config import get_model
from keel.serving.api_keys import read_keys
from keel.serving.http.app import create_app
from keel.serving.http.json_requests import parse
from keel.serving.metrics import LABEL_OUTCOMES, Metrics, WorkerRestarts
from keel.serving.models.input_schema import Inputs
from keel.serving.prediction_log.records import PredictionBlock, packed
from keel.serving.scoring.answers import Answer
from keel.serving.service import Service
from keel.serving.settings import Settings
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


def test_the_example_request_parses_and_the_answer_has_its_keys():
    config = get_model("flight_delay")
    found = parse(
        block("json request").encode(), "application/json", Inputs.of(config, config.features), clock=lambda n: NOON
    )
    assert found.entities == ["N14228"]
    answered = PredictionBlock(config.model, found.ids, found.times, [3], packed([0.29]), packed([0.0]))
    made, shown = json.loads(Answer(answered, [[0.71, 0.29]]).body()), json.loads(block("json answer"))
    assert {**shown["keel"], "ids": 0, "times": 0} == {**made["keel"], "ids": 0, "times": 0}
    assert shown["predictions"] == made["predictions"]


def test_the_example_keys_file_is_valid(tmp_path):
    path = tmp_path / "keys"
    path.write_text(block("text keys"))
    found = {name: set(key.scopes) for name, key in read_keys(path).items()}
    everything = {"predict", "label", "read"}
    assert found == {"web-shop": {"predict", "label"}, "prometheus": {"read"}, "operations": everything}


def test_every_setting_is_listed_with_its_default():
    shown = {name.strip("`"): default.strip("`") for name, _, default, _ in rows("Settings")}
    defaults, fields = Settings(), {variable: field for field, variable in Settings.variables().items()}
    assert set(shown) == set(fields) - {"KEEL_HOME"}
    for variable, text in shown.items():
        field = fields[variable]
        if field not in ("spool", "keys_file", "hosts"):
            assert getattr(Settings.from_environment({variable: text}), field) == getattr(defaults, field), variable


def labels_of_metrics():
    """Return the labels of each metric by its name in Prometheus."""
    found = {}
    for collector in set(Metrics().registry._names_to_collectors.values()):
        if isinstance(collector, WorkerRestarts):
            found[collector.name] = set(collector.labels)
        else:
            found[collector._name + ("_total" if collector._type == "counter" else "")] = set(collector._labelnames)
    return found


def test_every_metric_is_listed_with_its_labels():
    shown = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows("Metrics")}
    assert shown == labels_of_metrics()


def test_every_outcome_of_labels_is_named():
    [row] = [row for row in rows("Metrics") if row[0] == "`keel_labels_total`"]
    assert all(f"`{outcome}`" in row[2] for outcome in LABEL_OUTCOMES)


def test_every_path_is_listed():
    service = Service(Settings(), configured={"toy": toy_config()})
    made = {(*route.methods - {"HEAD"}, route.path.replace("{model}", "<model>")) for route in
            create_app(Settings(), service=service).routes}  # fmt: skip
    shown = set(re.findall(r"`(GET|POST) (/[\w/<>]*)`", PAGE))
    assert shown == made
