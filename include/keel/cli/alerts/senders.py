"""The channels from the command line: their connections are Airflow's, so a process with Airflow sends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from keel.alerts.outbox import EmlSender
from keel.alerts.records import Answer, Delivery, Message
from keel.config import Channel
from keel.errors import NoConnection
from keel.workspace import PROJECT

if TYPE_CHECKING:
    from keel.alerts.delivery import Sender

PLUGINS = PROJECT / "plugins"
MODULE = "keel_airflow.channels"
IMPORTS = "PYTHONPATH"
PATIENCE = 100.0
"""Seconds for one message, less than `keel.alerts.delivery.DEADLINE`: then the process is ended."""
DEFAULT_SENDER = "keel@localhost"


@dataclass(frozen=True)
class AirflowSender:
    """Sends each message by a process that has Airflow's connections."""

    environment: Mapping[str, str]

    def send(self, message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Answer:
        """Send one message. Raises `NoConnection` where the channel has none."""
        request = {
            "message": message.to_dict(),
            "deliveries": [delivery.to_dict()],
            "earlier": {delivery.delivery_id: [each.to_dict() for each in earlier]},
        }
        try:
            done = subprocess.run(
                [sys.executable, "-m", MODULE],
                input=json.dumps(request),
                env={**self.environment, IMPORTS: _path(self.environment)},
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return Answer(accepted=False, detail=f"{delivery.channel} took longer than {PATIENCE:.0f} s")
        return _answer(done, delivery.channel)


def airflow_senders(environment: Mapping[str, str] | None = None) -> dict[str, Sender]:
    """Return the sender of each channel."""
    sender = AirflowSender(dict(os.environ if environment is None else environment))
    return dict.fromkeys(get_args(Channel), sender)


def outbox_sender(folder: Path) -> EmlSender:
    """Return what writes mails into the outbox."""
    return EmlSender(folder, os.environ.get("KEEL_MAIL_FROM") or DEFAULT_SENDER)


def _path(environment: Mapping[str, str]) -> str:
    ours = (str(PROJECT / "include"), str(PLUGINS))
    return os.pathsep.join([*ours, *filter(None, [environment.get(IMPORTS)])])


def _answer(done: subprocess.CompletedProcess[str], channel: str) -> Answer:
    try:
        [found] = json.loads(done.stdout)["answers"]
    except (ValueError, KeyError, TypeError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Answer(accepted=False, detail=f"{channel} cannot be used: {last}")
    if found.get("no_connection"):
        raise NoConnection(str(found["detail"]))
    return Answer.from_dict(found)
