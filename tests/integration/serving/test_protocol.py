"""MLflow's scoring protocol: Keel gives the same predictions as ``mlflow models serve`` for the same bytes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from keel.registry.scoring_model import to_model_input
from keel.workspace import PROJECT, Workspace
from tests.support.loop_steps import CONFIG, NOW
from tests.support.serving.process import MODEL, ForkedServing, free_port, make_home
from tests.support.toy import toy_rows

pytestmark = pytest.mark.integration
ROWS = 25


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return make_home(tmp_path_factory.mktemp("protocol"))


@pytest.fixture(scope="module")
def mlflow(home, tmp_path_factory):
    """``mlflow models serve`` of the version that Keel serves; its URL."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "model").mkdir()
    with Workspace.open(home=home, environment={}) as ws:
        ws.registry.fetch(MODEL, 1, folder / "model")
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("KEEL_", "MLFLOW_"))},
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "PYTHONPATH": f"{PROJECT / 'include'}:{PROJECT}",
    }
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder / "model")),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            try:
                if httpx.get(f"{url}/ping", trust_env=False).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def servers(home, mlflow):
    """A function that posts the same bytes to both servers, and returns both answers."""
    with ForkedServing(home) as serving, httpx.Client(trust_env=False, timeout=60) as client:

        def post(body, content_type):
            headers = {"Content-Type": content_type}
            return [
                client.post(f"{url}/invocations", content=body, headers=headers)
                for url in (mlflow, f"{serving.url}/models/{MODEL}")
            ]

        post.keel, post.mlflow = serving.url, mlflow
        yield post


def frame(*, gaps):
    """Return rows that no version was trained on, as a client's data frame."""
    found = to_model_input(toy_rows(NOW, days=2, shift=1.0).slice(0, ROWS), CONFIG)
    if gaps:
        found.loc[::4, "x"] = np.nan
        found.loc[1::5, "colour"] = np.nan
        found.loc[2, "colour"] = "never seen"
    return found


def as_json(document):
    return json.dumps(document).encode(), "application/json"


def split(data):
    return as_json({"dataframe_split": json.loads(data.to_json(orient="split"))})


def records(data):
    return as_json({"dataframe_records": json.loads(data.to_json(orient="records"))})


def instances(data):
    return as_json({"instances": data.to_dict(orient="records")})  # with NaN, as Python writes it


def inputs(data):
    return as_json({"inputs": data.to_dict(orient="list")})


def inputs_as_records(data):
    return as_json({"inputs": data.to_dict(orient="records")})


def csv(data):
    return data.to_csv(index=False).encode(), "text/csv"


def csv_with_charset(data):
    return data.to_csv(index=False).encode(), "text/csv; charset=utf-8"


def parquet(data):
    buffer = io.BytesIO()
    data.to_parquet(buffer, index=False)
    return buffer.getvalue(), "application/vnd.apache.parquet"


FORMS = [split, records, instances, inputs, inputs_as_records, csv, csv_with_charset, parquet]


def same(servers, body, content_type):
    theirs, ours = servers(body, content_type)
    assert theirs.status_code == ours.status_code == 200, (theirs.text, ours.text)
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    found = ours.json()["predictions"]
    assert found == theirs.json()["predictions"], "to the last bit"
    return found


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "with gaps"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gets_the_same_predictions_as_from_mlflow(servers, form, gaps):
    data = frame(gaps=gaps)
    assert len(same(servers, *form(data))) == ROWS
    assert len(same(servers, *form(data.iloc[:1]))) == 1


@pytest.mark.parametrize("form", [split, records, instances, inputs, csv, parquet], ids=lambda form: form.__name__)
def test_extra_columns_and_another_order_change_no_prediction(servers, form):
    data = frame(gaps=False)
    expected = same(servers, *form(data))
    assert same(servers, *form(data.assign(other="x")[["other", "colour", "z", "x"]])) == expected


def test_numbers_as_texts_and_booleans_are_read_as_by_mlflow(servers):
    row = {"x": "0.25", "z": True, "colour": "red"}
    for key in ("dataframe_records", "instances"):
        assert same(servers, *as_json({key: [row]})) == same(
            servers, *as_json({key: [{"x": 0.25, "z": 1.0, "colour": "red"}]})
        )


def test_mlflows_client_gets_equal_predictions_from_both(servers):
    clients = [ScoringServerClient("127.0.0.1", int(url.rpartition(":")[2])) for url in (servers.mlflow, servers.keel)]
    found = [client.invoke(frame(gaps=True)).get_predictions() for client in clients]
    pd.testing.assert_frame_equal(*found, check_exact=True)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b'{"dataframe_recrods": []}', "application/json"),
        (b'{"dataframe_records": [{"x": 1}]}', "application/json"),
        (b'{"dataframe_records": [{"x": "hot", "z": 1, "colour": "red"}]}', "application/json"),
        (b'{"dataframe_records": []}', "application/json"),
        (b"", "text/csv"),
        (b"x,z,colour\nhot,1,red\n", "text/csv"),
        (b"{}", "text/plain"),
        (b"{}", "application/json; charset=latin-1"),
    ],
)
def test_requests_that_mlflow_rejects_are_rejected_with_a_reason(servers, body, content_type):
    theirs, ours = servers(body, content_type)
    assert theirs.status_code >= 400
    assert 400 <= ours.status_code < 500
    error = ours.json()
    assert error["kind"] == "BadRequest"
    assert 0 < len(error["error"]) < 400
