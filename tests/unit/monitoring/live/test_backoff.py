from __future__ import annotations

from keel.monitoring.live.backoff import LONGEST_WAIT, Backoff


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_backoff_waits_longer_after_each_failure_and_at_most_ten_minutes():
    clock = Clock()
    backoff, waits = Backoff(told_after=3, clock=clock), []
    for _ in range(200):
        backoff.failed()
        before = clock.now
        while backoff.waiting:
            clock.now += 1
        waits.append(clock.now - before)
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) == waits[-1] == LONGEST_WAIT


def test_backoff_after_a_success_begins_anew():
    backoff = Backoff(told_after=2, clock=Clock())
    assert [backoff.failed(), backoff.failed()] == [False, True]

    assert backoff.succeeded()

    assert not backoff.succeeded()
    assert not backoff.waiting
    assert [backoff.failed(), backoff.failed()] == [False, True]
    assert backoff.wait == 20
