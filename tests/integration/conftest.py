"""What pytest must know of this folder."""

collect_ignore = ["others"]
"""DAGs for the servers' Airflow: collecting doctests would import Airflow into the process that starts them."""
