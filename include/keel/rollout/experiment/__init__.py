"""Experiments: start, stop, evaluate and conclude them."""
