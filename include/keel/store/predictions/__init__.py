"""The prediction log: rows, labels, hourly counts, experiment outcomes."""
