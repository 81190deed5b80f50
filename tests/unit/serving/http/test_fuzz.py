"""Fuzzing: every request is answered and stored, or rejected by name without a trace."""

from __future__ import annotations

import io
import json
import math
import os
from importlib import import_module
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from keel.registry.scoring_model import to_model_input
from keel.serving.http.app import create_app
from keel.serving.http.json_requests import CSV, FORMS, JSON, PARQUET
from keel.serving.prediction_log.spool import Durability
from keel.serving.service import Service
from keel.serving.settings import Settings
from tests.support.serving.models import served, version
from tests.support.serving.process import LOCAL
from tests.support.toy import toy_config, toy_rows
from tests.support.waiting import until

pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with", "ignore::RuntimeWarning")
CONFIG = toy_config(serving={"entity_column": "who", "max_rows": 20})
GOOD = {"x": 0.5, "z": 1.0, "colour": "red", "who": "ann"}
EXAMPLES = int(os.environ.get("KEEL_FUZZ", "40"))
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES < 1_000,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.large_base_example],
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A service with a version, a spool and a store; at the end, all answered rows must be in the store."""
    from starlette.testclient import TestClient

    home = tmp_path_factory.mktemp("fuzz")
    rows = toy_rows(days=5)
    estimator = import_module("tests.support.pipelines.toy").build(CONFIG, 0)
    estimator.fit(to_model_input(rows, CONFIG), rows["label"].to_numpy())
    answering = served(CONFIG, version(estimator, CONFIG, rows))
    made = Settings(home=home, durability=Durability.WRITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KEEL_STORE_URL", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr(
            "keel.serving.service.ModelLoader",
            lambda *_, **__: SimpleNamespace(
                start=lambda: None,
                close=lambda: None,
                for_model=lambda _: answering,
                missing={},
                loads={},
                state=dict,
            ),
        )
        service = Service(made, configured={CONFIG.model: CONFIG})
        with TestClient(create_app(made, service=service), base_url=LOCAL, raise_server_exceptions=False) as client:
            service.until_connected()
            client.service, client.ids = service, set()
            yield client
            until(lambda: not service.spool.stats.records, 60)
            assert service.spool.stats.dead_letters == 0, "the store must accept every answered row"
            with service.workspace.store.connect() as connection:
                stored = set(connection.execute(sa.text("SELECT id FROM predictions_toy")).scalars())
            assert client.ids <= stored


TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "NaN", "inf", "1e999", "true", "None", "\x00", "ann", "0x1", "1_0"]),
)
NUMBERS = st.one_of(
    st.floats(), st.integers(), st.sampled_from([1e308, -1e308, 5e-324, 2**63, 2**64, -(10**30), 10**400])
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
NAMES = st.one_of(st.sampled_from([*GOOD, "keel", "id"]), TEXTS)
RECORDS = st.builds(
    lambda numbers, changed, extra, without: {
        name: value for name, value in {**GOOD, **numbers, **changed, **extra}.items() if name not in without
    },
    st.fixed_dictionaries({"x": NUMBERS, "colour": TEXTS | st.none()}),
    st.dictionaries(st.sampled_from(list(GOOD)), SCALARS, max_size=1),
    st.dictionaries(NAMES, ANYTHING, max_size=1),
    st.one_of(st.just(set()), st.sets(NAMES, max_size=1)),
)
TIMES = st.one_of(st.datetimes().map(lambda t: t.isoformat() + "Z"), st.datetimes().map(str), ANYTHING)
OWN = st.one_of(
    ANYTHING,
    st.dictionaries(
        st.sampled_from(["ids", "times", "entities", "time"]), st.one_of(st.lists(TIMES | TEXTS, max_size=3), ANYTHING)
    ),
)


def as_form(form, records, columnar):
    """Return the records in a form of the protocol, or nearly so."""
    if form == "dataframe_split":
        names = list(records[0]) if records else []
        return {"columns": names, "data": [[record.get(name) for name in names] for record in records]}
    if columnar and form in ("instances", "inputs"):
        return {name: [record.get(name) for record in records] for name in (records[0] if records else {})}
    return records


@st.composite
def payloads(draw):
    records = draw(st.lists(RECORDS, max_size=3))
    form = draw(st.sampled_from(FORMS))
    payload = {form: as_form(form, records, draw(st.booleans()))}
    match draw(st.integers(0, 5)):
        case 0:
            payload[form] = draw(ANYTHING)
        case 1:
            payload |= draw(st.dictionaries(TEXTS, ANYTHING, max_size=1))
        case 2:
            payload["keel"] = draw(OWN)
        case 3:
            payload["keel"] = {"entities": [draw(TEXTS | st.none()) for _ in records]}
    return payload


@st.composite
def spoilt(draw, bodies):
    """A body with a part missing, repeated or replaced."""
    body = draw(bodies)
    if not body or draw(st.integers(0, 2)):
        return body
    begin, end = sorted(draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    part = draw(st.one_of(st.binary(max_size=6), st.just(body[begin:end] * 2), st.just(b"\\ud800"), st.just(b"1e999")))
    return body[:begin] + part + body[end:]


@st.composite
def parquets(draw):
    size = draw(st.integers(0, 3))
    columns = {}
    for name in draw(st.lists(NAMES, max_size=5, unique=True)) + list(GOOD):
        values = [draw(st.one_of(st.just(GOOD.get(name)), SCALARS)) for _ in range(size)]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            kind = draw(st.sampled_from([pa.date32(), pa.binary(), pa.timestamp("ns"), pa.decimal128(5), pa.bool_()]))
            columns[name] = pa.nulls(size, kind)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def csv(records):
    lines = [",".join(GOOD)] + [",".join(str(record.get(name, "")) for name in GOOD) for record in records]
    return "\n".join(lines).encode("utf-8", "replace")


BODIES = st.one_of(
    st.tuples(payloads().map(lambda p: json.dumps(p).encode()), st.just(JSON)),
    st.tuples(spoilt(payloads().map(lambda p: json.dumps(p).encode())), st.just(JSON)),
    st.tuples(spoilt(ANYTHING.map(lambda p: json.dumps(p).encode())), st.just(JSON)),
    st.tuples(spoilt(st.lists(RECORDS, max_size=3).map(csv)), st.just(CSV)),
    st.tuples(spoilt(parquets()), st.just(PARQUET)),
    st.tuples(st.binary(max_size=60), st.sampled_from([JSON, CSV, PARQUET])),
)


@FEW
@given(BODIES)
def test_invocation_is_answered_or_rejected_by_name(client, sent):
    body, kind = sent
    before = client.service.spool.stats.appended
    answer = client.post("/invocations", content=body, headers={"content-type": kind})
    found = answer.json()
    event(f"{kind} {answer.status_code}")
    if answer.status_code == 200:
        assert len(found["predictions"]) == len(set(found["keel"]["ids"])) > 0
        assert all(math.isfinite(p) for row in found["predictions"] for p in row)
        client.ids.update(found["keel"]["ids"])
        return
    assert (answer.status_code in (400, 413, 415, 422), found["kind"]) == (True, "BadRequest"), found
    assert client.service.spool.stats.appended == before


LABELS = st.builds(
    lambda good, changed, extra: {**good, **changed, **extra},
    st.sampled_from([{"id": "p1", "label": 1}, {"entity": "ann", "time": "2026-01-01T00:00:00Z", "label": 0}]),
    st.dictionaries(st.sampled_from(["id", "label", "entity", "time", "observed_at"]), TIMES | SCALARS, max_size=2),
    st.dictionaries(TEXTS, ANYTHING, max_size=1),
)
FEEDBACK = st.one_of(
    LABELS, ANYTHING, st.builds(lambda labels: {"labels": labels}, st.lists(LABELS | ANYTHING, max_size=3) | ANYTHING)
)


@FEW
@given(spoilt(FEEDBACK.map(lambda body: json.dumps(body).encode())))
def test_feedback_is_accepted_or_rejected_by_name(client, body):
    before = client.service.spool.stats.appended
    answer = client.post("/feedback", content=body, headers={"content-type": JSON})
    if answer.status_code == 202:
        assert client.service.spool.stats.appended == before + 1
        return
    named = [(400, "BadRequest"), (413, "BadRequest"), (422, "BadRequest"), (404, "UnknownModel")]
    assert (answer.status_code, answer.json()["kind"]) in named, answer.text
    assert client.service.spool.stats.appended == before


QUERIES = st.dictionaries(
    st.sampled_from(["bucket", "start", "end", "version", "window"]),
    st.one_of(TEXTS, TIMES.map(str), NUMBERS.map(str), st.sampled_from(["hour", "day", "week", "month"])),
)


@FEW
@given(st.sampled_from(["performance", "experiments"]), QUERIES)
def test_query_is_answered_or_rejected_by_name(client, what, query):
    answer = client.get(f"/models/toy/{what}", params=query)
    assert answer.status_code == 200 or (answer.status_code, answer.json()["kind"]) == (422, "BadRequest"), answer.text
