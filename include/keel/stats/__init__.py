"""Measures: pure functions of count vectors, one file each; numpy and scipy.special only.

To add one: a file here with formula, source and an example that runs; its value in
`keel.monitoring.column_measures`; a golden
value and a comparison with an independent implementation in ``tests/unit``.
"""
