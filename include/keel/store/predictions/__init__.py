"""The prediction log: rows, labels, hourly counts and experiment rows."""
