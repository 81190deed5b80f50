"""Evaluate versions: champion against challenger on a holdout, on probation and in an experiment; and their speed."""
