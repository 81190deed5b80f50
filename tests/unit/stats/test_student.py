"""Quantiles of Student's t without scipy."""

from __future__ import annotations

import pytest
from scipy.special import stdtrit

from keel.stats.student import student_quantile


@pytest.mark.parametrize("df", [1.0, 1.37, 2.0, 4.0, 6.5, 30.0, 365.0, 1e4, 1e6, 1e9])
@pytest.mark.parametrize("p", [0.6, 0.9, 0.975, 0.9995])
def test_student_quantile_equals_scipy(p: float, df: float) -> None:
    assert student_quantile(p, df) == pytest.approx(float(stdtrit(df, p)), rel=1e-9)
