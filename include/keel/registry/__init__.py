"""MLflow: a version's files, its registration, and scoring with it."""
