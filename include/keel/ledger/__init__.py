"""The append-only, hash-chained record of every change of a version: rows, verification, checkpoints, descriptions."""
