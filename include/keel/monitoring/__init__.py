"""Monitoring: three checks of a window of predictions, the decision they lead to, and its records."""
