"""Keel on one machine: real Airflow, MLflow and scoring processes, and the replay of real flights."""
