"""Send a message for a process that knows no Airflow, such as the command line: JSON in, JSON out.

``python -m keel_airflow.channels`` reads one object from standard input::

    {"message": {…}, "deliveries": [{…}], "earlier": {"<delivery id>": [{…}]}}

``earlier`` may be missing. It writes one object to standard output, with an answer for each delivery, in their order::

    {"answers": [{"delivery_id": "…", "accepted": true, "detail": "…", "no_connection": false, …}]}

``no_connection``: the channel has none, and ``detail`` names it. Everything else that libraries print goes to standard
error. The exit code is 0 when there is an answer for each delivery, and 2 when the input cannot be read.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keel.alerts.records import Delivery, Message


def main(source: IO[str], target: IO[str]) -> int:
    """Read, send, write, and return the exit code."""
    from keel.alerts.records import Delivery, Message
    from keel.errors import KeelError

    try:
        given = json.load(source)
        message = Message.from_dict(given["message"])
        deliveries = [Delivery.from_dict(each) for each in given["deliveries"]]
        earlier = {key: [Delivery.from_dict(d) for d in them] for key, them in given.get("earlier", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, KeelError) as error:
        problem = str(error) if isinstance(error, KeelError) else f"{type(error).__name__}: {error}"
        print(f"keel_airflow.channels: the input is not valid: {problem}", file=sys.stderr)
        return 2
    # Airflow looks into its own database only in processes that it counts as servers; elsewhere a connection that was
    # made in its pages does not exist, and nothing says why.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    with redirect_stdout(sys.stderr):
        answers = [answer(message, each, earlier.get(each.delivery_id, [])) for each in deliveries]
    json.dump({"answers": answers}, target)
    target.write("\n")
    return 0


def answer(message: Message, delivery: Delivery, earlier: Sequence[Delivery]) -> Mapping[str, Any]:
    """Send a message to one recipient, and return the answer as plain data. It never raises."""
    from keel.alerts.records import Answer
    from keel.errors import NoConnection, for_people
    from keel_airflow.channels import senders

    missing = False
    try:
        result = senders()[delivery.channel].send(message, delivery, earlier)
    except NoConnection as error:
        result, missing = Answer(accepted=False, detail=str(error), is_final=True), True
    except KeyError:
        result = Answer(accepted=False, detail=f"there is no channel {delivery.channel!r}", is_final=True)
    except Exception as error:
        result = Answer(accepted=False, detail=for_people(error))
    return {"delivery_id": delivery.delivery_id, "no_connection": missing, **result.to_dict()}


if __name__ == "__main__":
    sys.exit(main(sys.stdin, sys.stdout))
