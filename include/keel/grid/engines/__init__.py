"""Engines run the counting kernel where the data is. They all return the same integers."""
