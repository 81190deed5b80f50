#!/bin/sh
# Run once by the PostgreSQL image, on an empty volume: Airflow and MLflow each own an alembic_version table, so each part
# gets a database of its own. The image itself creates the first one, for Keel.
set -eu

for name in airflow mlflow; do
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --command "CREATE DATABASE $name"
done
