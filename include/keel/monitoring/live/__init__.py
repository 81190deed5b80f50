"""Monitors that are evaluated after every block of predictions or labels, and the alarms they open."""
