"""The serving processes: listening, workers, signals, the end."""
