"""Is one version better than another: on a holdout, on probation, in an experiment; and how fast it is."""
