"""Drift statistics: pure functions of count vectors, one file each."""
