"""Compare two versions on live requests: the plan of an experiment, and the evaluation of its outcomes."""
