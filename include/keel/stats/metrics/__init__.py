"""Performance metrics of labelled predictions, with their standard errors."""
