"""Engines: run the counting kernel where the data is; the integers are the same everywhere."""
