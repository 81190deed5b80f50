"""``python -m keel.serving.process.worker FD``: one of several workers on one socket. The supervisor starts it."""

from __future__ import annotations

import sys

from keel.errors import KeelError
from keel.serving.process.supervisor import run_worker

if __name__ == "__main__":
    try:
        # unbuffered: the thread that waits on a buffered file would hold its lock and keep Python from ending
        with open(0, "rb", buffering=0, closefd=False) as lifeline:
            sys.exit(run_worker(int(sys.argv[1]), lifeline))
    except KeelError as error:
        print(f"keel: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
