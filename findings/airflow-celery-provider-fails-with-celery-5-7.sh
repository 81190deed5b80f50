#!/usr/bin/env bash
# apache-airflow-providers-celery 3.26.0: with celery 5.7.0, which its requirement allows (celery[redis]>=5.5.0,<6), neither
# a worker nor a scheduler with CeleryExecutor starts.
#
# The provider imports the name "retry" from celery.backends.database, where 5.6.3 has it and 5.7.0 no longer does. The
# last line of a worker's log says that the feature needs Airflow 2.8.0 or newer: the provider takes every ImportError of
# its command for an old Airflow. With celery 5.6.3 the same import succeeds.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow"
export AIRFLOW__CELERY__BROKER_URL=redis://127.0.0.1:6379/0 AIRFLOW__CELERY__RESULT_BACKEND="db+sqlite:///$here/results.db"
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-celery==3.26.0 celery==5.7.0
worker() {
  AIRFLOW__CORE__EXECUTOR=CeleryExecutor timeout 120 "$here/venv/bin/airflow" celery worker --skip-serve-logs 2>&1
}
before=$(worker | grep -E "^(ImportError|.*OptionalProviderFeature.*):" || true)
"$here/venv/bin/pip" install --quiet celery==5.6.3
after=$("$here/venv/bin/python" -c \
  "from airflow.providers.celery.executors.celery_executor import app; print('imported', type(app).__name__)" 2>/dev/null |
  grep imported || true)
printf 'celery 5.7.0, a worker:\n%s\ncelery 5.6.3:\n%s\n' "$before" "$after"
[[ $before == *"cannot import name 'retry'"*"Airflow versions >= 2.8.0"* && $after == "imported Celery" ]] || {
  echo "changed" >&2
  exit 1
}
