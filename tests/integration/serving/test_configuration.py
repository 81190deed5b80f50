"""``keel serve`` with configurations that cannot be served, or only in part."""

from __future__ import annotations

import pytest

from tests.support.loop_steps import CONFIG
from tests.support.serving.process import MODEL, ROW, ForkedServing, Serving, write_models
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("options", "environment", "code", "reason"),
    [
        ((), {"KEEL_SERVING_HOST": "0.0.0.0"}, 2, "KEEL_API_KEYS_FILE"),
        ((), {"KEEL_SPOOL_DURABILITY": "maybe"}, 2, "KEEL_SPOOL_DURABILITY"),
        ((), {"KEEL_STORE_URL": "mysql://there"}, 2, "mysql"),
        (("--model", "toi"), {}, 2, "did you mean 'toy'"),
        (("--workers", "2", "--model", "toi"), {}, 2, "did you mean 'toy'"),
        ((), {"KEEL_API_KEYS_FILE": "nowhere"}, 2, "cannot read nowhere"),
        ((), {"KEEL_SPOOL": "/dev/null/spool"}, 3, "spool"),
    ],
)
def test_invalid_configuration_ends_with_an_exit_code_and_one_line(home, options, environment, code, reason):
    with ForkedServing(home, *options, wait=False, **environment) as serving:
        assert serving.process.wait(60) == code, serving.logged()
        assert reason in serving.logged()
        assert "Traceback" not in serving.logged()


def test_broken_neighbour_is_named_and_a_new_folder_is_served_without_a_restart(home):
    for name, text in (("broken", "model: broken\nfaetures: {}\n"), ("other", "other: [")):
        (home / "models" / name).mkdir()
        (home / "models" / name / "model.yaml").write_text(text)
    with ForkedServing(home) as serving:
        assert serving.predict().status_code == 200
        assert serving.client.post("/invocations", json={"dataframe_records": [ROW]}).status_code == 200
        said = serving.client.get("/version").json()["configuration"]
        assert ["broken/model.yaml" in said["broken"][0], "other/model.yaml" in said["broken"][1]] == [True, True]
        assert serving.logged().index("faetures") < serving.logged().index("serving at")
        answer = serving.predict(model="broken")
        assert (answer.status_code, answer.json()["kind"]) == (404, "UnknownModel")
        assert "faetures" in answer.json()["error"]
        write_models(home, CONFIG.model_copy(update={"model": "other"}))
        until(lambda: serving.predict(model="other").json()["kind"] == "NoProductionVersion")
        assert serving.client.get("/models").json() == {"models": {"other": None, "toy": 1}}
        assert serving.client.post("/models/other/feedback", json={"id": "p", "label": 1}).status_code == 202
        assert serving.client.get("/ready").status_code == 200
        assert serving.client.post("/invocations", json={"dataframe_records": [ROW]}).status_code == 200
        until(lambda: serving.metric("keel_labels_total", model="other", outcome="stored") == 1)
        assert serving.stop() == 0


def test_nothing_is_said_to_be_served_before_it_is(home):
    (home / "models" / MODEL / "model.yaml").write_text("nothing: valid")
    with ForkedServing(home, wait=False) as serving:
        assert serving.process.wait(60) == 2, serving.logged()
        assert f"{MODEL}/model.yaml" in serving.logged()
        assert "serving at" not in serving.logged()
    with ForkedServing(home, wait=False, KEEL_SPOOL="/dev/null/spool") as serving:
        assert serving.process.wait(60) in (2, 3)
        assert "serving at" not in serving.logged()


def test_port_in_use_is_named_in_the_error(home, shared):
    with Serving(home, "--port", str(shared.port), wait=False) as serving:
        assert serving.process.wait(60) == 3
        assert f"port {shared.port}" in serving.logged()
    assert shared.predict().status_code == 200
