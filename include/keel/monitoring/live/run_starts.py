"""The time of the block at which a change probably began."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from keel.stats.sequential.e_detector import EDetector, Trajectory

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Times = NDArray[np.datetime64]


class RunStarts:
    """The times at which the present runs of an e-detector's bets began.

    The detector numbers blocks. Only the times of those blocks are kept with which its runs began, so the size does not
    depend on the blocks so far.

    times: shape (monitors, bets), microseconds.
    """

    def __init__(self, times: Times) -> None:
        self.times = times.astype("datetime64[us]")

    @classmethod
    def fresh(cls, monitors: int, bets: int) -> RunStarts:
        """Return those of monitors that have seen nothing."""
        return cls(np.zeros((monitors, bets), "datetime64[us]"))

    def update(self, detector: EDetector, log_factors: Floats, starts: Times) -> tuple[Trajectory, Times]:
        """Update the detector with a page of at least one block, and follow the starts of its runs.

        Parameters
        ----------
        detector, log_factors
            See `keel.stats.sequential.e_detector.EDetector.update`.
        starts
            Time of each block's start, shape (blocks,).

        Returns
        -------
        The detector's trajectory, and the time of each ``began`` of it, shape (blocks, monitors).

        """
        first, before, known = detector.blocks, detector.began, self.times
        found = detector.update(log_factors)
        in_page = starts[np.maximum(detector.began - first, 0)]
        self.times = np.where(detector.began >= first, in_page, known)
        # The best bet's run began in this page, or is one of those that the monitor's bets had before it.
        bet = np.argmax(found.began[:, :, None] == before[None], axis=2)
        earlier = np.take_along_axis(known[None], bet[:, :, None], axis=2)[:, :, 0]
        return found, np.where(found.began >= first, starts[np.maximum(found.began - first, 0)], earlier)
