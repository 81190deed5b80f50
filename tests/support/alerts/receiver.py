"""A real HTTP receiver of messages, which can lose its connections, and the sender that talks to it."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from keel.alerts.records import Answer, Delivery, Message


class Receiver(ThreadingHTTPServer):
    """Counts the deliveries that it was given, by their ids.

    takes: seconds from when it has a message to its answer. losses: of the next messages it has, so many connections
    are closed without an answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()
        self.takes = 0.0
        self.losses = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.got[body["delivery"]] += 1
            self.server.losses -= 1
            is_lost = self.server.losses >= 0
        time.sleep(self.server.takes)
        if is_lost:
            self.close_connection = True
            return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:  # whoever sent was killed
            self.close_connection = True


class HttpSender:
    """Posts a delivery to a receiver."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        body = json.dumps({"delivery": delivery.delivery_id, "message": message.to_dict()}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return Answer(accepted=True, detail=f"{response.status} {response.read().decode()}")


@contextmanager
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
