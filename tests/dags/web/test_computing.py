"""The helper process of the API server: its limits, its ends, and what it gets of the environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pyarrow as pa
import pytest

from keel.errors import UnknownVersion
from keel_airflow.web.computing import MEBIBYTE, Helper, environment_of
from keel_airflow.web.helper import MAX_OTHERS, answer_to, read_rows
from keel_airflow.web.problems import Problem
from tests.dags.conftest import project_environment
from tests.support.paths import PROJECT

COMMAND = (sys.executable, "-m", "tests.support.web.eager_helper")
MEMORY = 256 * MEBIBYTE


@pytest.fixture
def new_helper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Helper]]:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    made: list[Helper] = []

    def create(**limits: Any) -> Helper:
        made.append(Helper(**{"memory": MEMORY, "command": COMMAND, **limits}))
        return made[-1]

    yield create
    for helper in made:
        helper.close()


def is_gone(pid: int, *, within: float = 5.0) -> bool:
    deadline = time.monotonic() + within
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_one_process_answers_question_after_question_and_ends_when_closed(new_helper: Callable[..., Helper]) -> None:
    helper = new_helper()
    assert helper.pid is None
    first = helper.ask("wait", {"seconds": 0}, b"x" * (9 << 20))
    assert first == {"pid": helper.pid, "bytes": 9 << 20}
    assert helper.ask("wait", {"seconds": 0})["pid"] == first["pid"]
    assert not {"airflow", "mlflow", "pandas", "scipy", "sklearn"} & set(helper.ask("modules", {})["modules"])
    helper.close()
    assert (helper.pid, is_gone(first["pid"])) == (None, True)
    assert helper.ask("wait", {"seconds": 0})["pid"] != first["pid"]


def test_question_that_takes_too_long_is_killed_and_the_next_is_answered(new_helper: Callable[..., Helper]) -> None:
    helper = new_helper(seconds=3.0)
    slow = helper.ask("wait", {"seconds": 0})["pid"]
    with pytest.raises(Problem) as caught:
        helper.ask("wait", {"seconds": 60})
    assert caught.value.status == 504
    assert is_gone(slow)
    assert helper.ask("wait", {"seconds": 0})["pid"] != slow


def test_question_that_needs_too_much_memory_is_refused_and_the_next_is_answered(
    new_helper: Callable[..., Helper],
) -> None:
    helper = new_helper()
    with pytest.raises(Problem) as caught:
        helper.ask("eat", {"bytes": MEMORY, "seconds": 60})
    assert (caught.value.status, caught.value.errors[0]["field"]) == (422, "since")
    assert helper.ask("eat", {"bytes": MEMORY // 4, "seconds": 0.3}) == {"eaten": MEMORY // 4}


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL])
def test_process_that_dies_is_a_problem_of_one_question(new_helper: Callable[..., Helper], how: int) -> None:
    helper = new_helper()
    with pytest.raises(Problem) as caught:
        helper.ask("die", {"signal": how})
    assert (caught.value.status, caught.value.retry_after is not None) == (503, True)
    assert helper.ask("wait", {"seconds": 0})["pid"] == helper.pid


def test_errors_of_keel_keep_their_class_and_others_say_nothing(new_helper: Callable[..., Helper]) -> None:
    helper = new_helper()
    with pytest.raises(UnknownVersion, match="toy has no version 7"):
        helper.ask("refuse", {})
    with pytest.raises(Problem) as caught:
        helper.ask("fail", {})
    assert caught.value.status == 503
    assert "secret" not in str(caught.value)
    assert helper.ask("wait", {"seconds": 0})["bytes"] == 0


def test_idle_process_ends_and_another_one_starts(new_helper: Callable[..., Helper]) -> None:
    helper = new_helper(idle=0.1)
    first = helper.ask("wait", {"seconds": 0})["pid"]
    assert is_gone(first)
    assert helper.ask("wait", {"seconds": 0})["pid"] != first


def test_more_than_a_few_questions_at_once_are_refused(new_helper: Callable[..., Helper]) -> None:
    helper, found = new_helper(), []
    helper.ask("wait", {"seconds": 0})

    def ask() -> None:
        try:
            found.append(helper.ask("wait", {"seconds": 0.5})["pid"])
        except Problem as problem:
            found.append(problem.status)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (found.count(503), found.count(helper.pid)) == (5, 3)


def test_question_that_had_to_wait_has_its_own_seconds(new_helper: Callable[..., Helper]) -> None:
    helper = new_helper(seconds=4.0)
    process = helper.ask("wait", {"seconds": 0})["pid"]
    first = threading.Thread(target=helper.ask, args=("wait", {"seconds": 2.5}))
    first.start()
    time.sleep(0.2)
    assert helper.ask("wait", {"seconds": 2.5})["pid"] == process
    first.join()


def test_process_gets_no_secrets_of_airflow_and_no_settings_but_those_it_needs(
    new_helper: Callable[..., Helper], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_SMTP_DEFAULT", "KEEL_STORE_URL", "KEEL_SMTP_URL")
    for name in (*secrets, "KEEL_API_KEYS_FILE", "KEEL_SIGNING_KEY", "ANY_TOKEN"):
        monkeypatch.setenv(name, "a secret")
    monkeypatch.setenv("KEEL__DRIFT__ALPHA", "0.02")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "needed")
    got = new_helper().ask("environment", {})
    assert "a secret" not in got.values()
    assert (got["KEEL__DRIFT__ALPHA"], got["MLFLOW_TRACKING_TOKEN"]) == ("0.02", "needed")
    assert got["PATH"] == environment_of(os.environ)["PATH"]


def test_process_ends_with_its_parent_however_that_ends() -> None:
    program = """
        import sys, threading, time
        from keel_airflow.web.computing import Helper
        helper = Helper(command=(sys.executable, "-m", "tests.support.web.eager_helper"))
        helper.ask("wait", {"seconds": 0})
        print(helper.pid, flush=True)
        helper.ask("wait", {"seconds": 20})
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=project_environment(),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    assert is_gone(pid)


def test_arrow_stream_that_is_none_is_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema({"x": pa.float64()})) as writer:
        writer.write_table(pa.table({"x": [1.0, 2.0]}))
    stream = sink.getvalue().to_pybytes()
    assert read_rows("arrow", stream, {"x"}).to_pydict() == {"x": [1.0, 2.0]}
    for broken in (b"", b"[]", stream[:-20], b"ARROW1\0\0" + stream):
        with pytest.raises(Exception, match="Arrow IPC stream") as caught:
            read_rows("arrow", broken, {"x"})
        assert getattr(caught.value, "status", None) == 400


def test_unknown_question_is_unexpected() -> None:
    assert answer_to("what", {}, b"") == {"unexpected": "KeyError"}


def test_records_become_columns_and_keys_of_their_own_cost_nothing() -> None:
    assert read_rows("records", b'[{"x": 1, "z": 5}, {"y": "a"}]', {"x", "y"}) == {
        "x": [1, None],
        "y": [None, "a"],
        "z": [None, None],
    }
    wide = json.dumps([{f"{row}-{column}": 1 for column in range(20)} for row in range(1_000)]).encode()
    assert len(read_rows("records", wide, {"x"})) == MAX_OTHERS
