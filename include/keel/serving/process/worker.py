"""``python -m keel.serving.process.worker FD``: one of several processes that serve on one socket; its parent starts
it.
"""

from __future__ import annotations

import sys

from keel.errors import KeelError
from keel.serving.process.supervisor import work

if __name__ == "__main__":
    try:
        # Without a buffer: its lock, held by the thread that waits for the end, would keep Python from ending.
        with open(0, "rb", buffering=0, closefd=False) as lifeline:
            sys.exit(work(int(sys.argv[1]), lifeline))
    except KeelError as error:
        print(f"keel: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
