"""MLflow: the files of a version, its registration, and scoring with it."""
