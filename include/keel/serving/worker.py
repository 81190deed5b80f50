"""``python -m keel.serving.worker FD``: one of several processes that serve on one socket; its parent starts it."""

from __future__ import annotations

import sys

from keel.errors import KeelError
from keel.serving.server import work

if __name__ == "__main__":
    try:
        sys.exit(work(int(sys.argv[1]), sys.stdin.buffer))
    except KeelError as error:
        print(f"keel: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
