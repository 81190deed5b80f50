#!/bin/sh
# The PostgreSQL image runs this script once, on an empty volume. Airflow and MLflow each have a table alembic_version, so
# each gets its own database. The image itself creates Keel's database.
set -eu

for name in airflow mlflow; do
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --command "CREATE DATABASE $name"
done
