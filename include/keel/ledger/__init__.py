"""The append-only, hash-chained record of every transition: its proof, checkpoints and prose."""
