"""Which hours are read at once: none that is not needed, and no more than a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keel.monitoring.window_counts import contiguous_spans

NIGHT = datetime(2026, 3, 1, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ([], []),
        ([3], [(3, 4)]),
        ([4, 3, 0], [(0, 1), (3, 5)]),
        (range(30), [(0, 24), (24, 30)]),
        ([*range(24), *range(25, 27)], [(0, 24), (25, 27)]),
    ],
)
def test_contiguous_spans_join_neighbouring_hours_up_to_a_day(hours, expected):
    hour = timedelta(hours=1)
    spans = contiguous_spans(NIGHT + n * hour for n in hours)
    assert [((start - NIGHT) // hour, (end - NIGHT) // hour) for start, end in spans] == expected
