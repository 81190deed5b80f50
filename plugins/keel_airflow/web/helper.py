"""The helper process of the API server: it computes what needs libraries that the API server must not load.

It reads questions from its standard input, one after the other, and writes the answers where its standard output was.
A question is a line of JSON, ``{"question", "arguments", "body": bytes}``, and so many bytes. An answer is a line of
JSON: ``{"answer"}``, ``{"error", "message", "attributes"}`` for one of Keel's errors, ``{"memory": true}``, or
``{"unexpected": name}``. It imports no Airflow, and ends by itself: when nothing was asked for a while, when its input
closes, and when its parent has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.errors import KeelError

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.workspace import Workspace

STDIN, STDOUT, STDERR = 0, 1, 2
CHUNK = 1 << 20
LOOK_SECONDS = 1.0
"""Between two looks whether the parent still runs."""
STORE_SECONDS = 5.0
"""To wait for the store."""
MAX_OTHERS = 100
"""Unknown keys of records that an answer names."""
FIRST_TO_GO = "1000"
"""Where Linux is short of memory, it ends this process before all others."""


def main(idle: float) -> None:
    """Answer questions until there are no more. idle: seconds without a question."""
    answers = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)  # what a library prints is no answer
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (asked := _next_question(idle)) is not None:
        answer = answer_to(*asked)
        _write(answers, json.dumps(answer, allow_nan=False).encode() + b"\n")
        if "memory" in answer:
            return


def answer_to(question: str, arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Return the answer to a question, or what went wrong."""
    try:
        return {"answer": QUESTIONS[question](arguments, body)}
    except KeelError as error:
        plain = {name: value for name, value in vars(error).items() if isinstance(value, str | int | float | None)}
        return {"error": type(error).__name__, "message": str(error), "attributes": plain}
    except MemoryError:
        return {"memory": True}
    except Exception as error:
        traceback.print_exc()
        return {"unexpected": type(error).__name__}


def data_drift(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Answer `keel.loop.asked.drift_of_window`, or `drift_of_rows` where rows come along."""
    from keel.loop.asked import drift_of_rows, drift_of_window

    ws, config = _subject(arguments)
    version = arguments.get("version")
    if arguments.get("form"):
        known = {*config.features, "score", "prediction"}
        return drift_of_rows(ws, config, read_rows(arguments["form"], body, known), version=version).to_dict()
    return drift_of_window(ws, config, _window(arguments, config), version=version).to_dict()


def performance_drift(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Answer `keel.loop.asked.performance_of_window`."""
    from keel.loop.asked import performance_of_window

    ws, config = _subject(arguments)
    return performance_of_window(ws, config, _window(arguments, config), version=arguments.get("version")).to_dict()


def page(arguments: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Answer `keel_airflow.web.page.computed.content`."""
    from keel_airflow.web.page.computed import content

    ws, config = _subject(arguments)
    given = ("root", "version", "window", "column")
    return content(ws, config, **{name: arguments[name] for name in given})


QUESTIONS: dict[str, Callable[[dict[str, Any], bytes], dict[str, Any]]] = {
    "data_drift": data_drift,
    "performance_drift": performance_drift,
    "page": page,
}


def read_rows(form: str, body: bytes, known: Collection[str]) -> Any:
    """Return rows as a table: ``records`` are a JSON array of objects, ``arrow`` is an Arrow IPC stream.

    known: columns that are read. Of other keys of records only the first are kept, without their values: each record
    could have some of its own.

    Raises
    ------
    BadRequest
        The body is no such thing.

    """
    from keel.errors import BadRequest

    if form == "records":
        return _columns(json.loads(body), known)
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(pa.BufferReader(body)) as stream:
            table = stream.read_all()
        table.validate(full=True)
    except MemoryError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise BadRequest(f"the body is no Arrow IPC stream: {said}", status=400) from None
    return table


def _columns(records: list[dict[str, Any]], known: Collection[str]) -> dict[str, list[Any]]:
    """Return records as columns; a key that a record lacks is a missing value."""
    from keel.monitoring.frames.tables import name_of

    names: dict[str, str] = {}
    for record in records:
        for key in record:
            if key not in names:
                names[key] = name_of(key)
    values = {key: [record.get(key) for record in records] for key, name in names.items() if name in known}
    others = [key for key, name in names.items() if name not in known]
    return values | {key: [None] * len(records) for key in others[:MAX_OTHERS]}


def _subject(arguments: dict[str, Any]) -> tuple[Workspace, ModelConfig]:
    from keel.config import get_model

    config = get_model(arguments["model"])
    if overrides := arguments.get("overrides"):
        config = config.with_overrides(overrides)
    return _workspace(**arguments["installation"]), config


@cache
def _workspace(home: str, store_url: str, tracking_uri: str) -> Workspace:
    from keel.workspace import Workspace

    return Workspace.open(home=home, store_url=store_url, tracking_uri=tracking_uri, store_timeout=STORE_SECONDS)


def _window(arguments: dict[str, Any], config: ModelConfig) -> Any:
    from datetime import timedelta

    from keel.loop.asked import asked_window
    from keel.window import now_utc, parse_time

    seconds = arguments.get("lookback")
    return asked_window(
        config,
        since=parse_time(arguments.get("since")),
        until=parse_time(arguments.get("until")),
        lookback=None if seconds is None else timedelta(seconds=seconds),
        now=now_utc(),
    )


def _next_question(idle: float) -> tuple[str, dict[str, Any], bytes] | None:
    """Wait for a question; None where none comes in time, or where no more will come."""
    if not select.select([STDIN], [], [], idle)[0]:
        return None
    read = b""
    while b"\n" not in read:
        if not (more := os.read(STDIN, CHUNK)):
            return None
        read += more
    line, _, rest = read.partition(b"\n")
    head = json.loads(line)
    parts, missing = [rest], head["body"] - len(rest)
    while missing > 0:
        if not (more := os.read(STDIN, min(missing, CHUNK))):
            return None
        parts.append(more)
        missing -= len(more)
    return head["question"], head["arguments"], b"".join(parts)


def _write(to: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(to, view) :]


def _end_with(parent: int) -> None:
    """End this process once its parent has ended, also in the middle of a computation."""
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main(float(sys.argv[1]))
