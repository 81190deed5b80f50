"""Labels handed in: what turned out to be true of predictions, by their id or by entity and time."""
