"""A client process: requests predictions, submits labels, and writes to a pipe what the service accepted.

    python -m tests.support.serving.client URL THREADS SEED SIZES

SIZES are numbers of rows with commas between them, one of which each request has, at random.

Lines on standard output, each written after the whole answer was read: ``sent ID…`` before own ids are sent,
``predicted ID X…``, ``labelled ID LABEL…``, ``refused STATUS KIND``. Every other thread gives its rows own ids and
retries with the same ids until they are answered. The other threads leave the ids to the service and never retry. The
client ends with standard input, after every own id is answered and every label accepted.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

PAUSE = 0.05
"""Seconds between attempts."""
TIMEOUT = 30.0


class Requests(threading.Thread):
    """One connection, one request at a time."""

    def __init__(self, address: str, number: int, seed: int, sizes: list[int], stopping: threading.Event) -> None:
        super().__init__()
        self.address, self.number, self.sizes, self.stopping = address, number, sizes, stopping
        self.prefix = f"own-{seed}-{number}"
        self.chance = random.Random(f"{seed} {number}")
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        for count in itertools.count():
            if self.stopping.is_set():
                return
            ids = self.predict(count)
            if ids and self.chance.random() < 0.5:
                self.label(ids)

    def predict(self, count: int) -> list[str]:
        size = self.chance.choice(self.sizes)
        xs = [round(self.chance.gauss(0, 1), 6) for _ in range(size)]
        body: dict[str, Any] = {"dataframe_records": [{"x": x, "z": 1.0, "colour": "red"} for x in xs]}
        own_ids = self.number % 2 == 0
        if own_ids:
            body["keel"] = {"ids": [f"{self.prefix}-{count}-{i}" for i in range(size)]}
            report("sent", *body["keel"]["ids"])
        answer = self.post("/models/toy/invocations", body, retry=own_ids)
        if answer is None:
            return []
        ids = answer["keel"]["ids"]
        assert not own_ids or ids == body["keel"]["ids"]
        report("predicted", *[f"{name} {x}" for name, x in zip(ids, xs, strict=True)])
        return ids

    def label(self, ids: list[str]) -> None:
        labels = [{"id": name, "label": self.chance.randrange(2)} for name in ids]
        self.post("/models/toy/feedback", {"labels": labels}, retry=True)
        report("labelled", *[f"{each['id']} {each['label']}" for each in labels])

    def post(self, path: str, body: dict[str, Any], *, retry: bool) -> Any:
        """Post until the request is accepted, or once."""
        while True:
            try:
                status, answer = self.exchange(path, json.dumps(body))
                if status in (200, 202):
                    return answer
                report("refused", f"{status} {answer.get('kind')}")
            except (OSError, http.client.HTTPException):
                self.connection = None
            time.sleep(PAUSE)
            if not retry:
                return None

    def exchange(self, path: str, body: str) -> tuple[int, Any]:
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT)
        self.connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def report(what: str, *items: str) -> None:
    """Write a line with one system call, so that lines of threads do not mix and none is lost in a buffer."""
    os.write(1, f"{what} {' '.join(items)}\n".encode())


def main(url: str, threads: int, seed: int, sizes: list[int]) -> None:
    stopping = threading.Event()
    senders = [Requests(urlsplit(url).netloc, number, seed, sizes, stopping) for number in range(threads)]
    for sender in senders:
        sender.start()
    sys.stdin.read()
    stopping.set()
    for sender in senders:
        sender.join()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), [int(size) for size in sys.argv[4].split(",")])
