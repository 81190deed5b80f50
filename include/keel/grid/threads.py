"""Apply a function to many columns, in threads where that is faster."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_THREADS = 8
"""Sorting is bound by memory: more threads gain nothing."""
MIN_VALUES_FOR_THREADS = 100_000
"""With fewer values, to start a thread takes longer than the work that it does."""

T = TypeVar("T")
R = TypeVar("R")


def in_threads(work: Callable[[T], R], items: list[T], rows: int) -> list[R]:
    """Return the results of ``work`` on the items, which are columns of ``rows`` rows, in order.

    Threads pay because most of the work releases the interpreter's lock. The calling thread takes items from the front,
    and helper threads take them from the back. If the caller only waited, one more thread would compete for the lock.
    """
    helpers = min(os.cpu_count() or 1, MAX_THREADS, len(items)) - 1
    if helpers < 1 or rows * len(items) < MIN_VALUES_FOR_THREADS:
        return [work(item) for item in items]
    waiting = deque(range(len(items)))
    results: dict[int, R] = {}

    def work_off(take: Callable[[], int]) -> None:
        while True:
            try:
                i = take()
            except IndexError:  # nothing is left
                return
            results[i] = work(items[i])

    with ThreadPoolExecutor(helpers, thread_name_prefix="keel-count") as pool:
        helping = [pool.submit(work_off, waiting.pop) for _ in range(helpers)]
        work_off(waiting.popleft)
    for helper in helping:
        helper.result()
    return [results[i] for i in range(len(items))]
