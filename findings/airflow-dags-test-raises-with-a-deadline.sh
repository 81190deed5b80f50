#!/usr/bin/env bash
# Airflow 3.3.2: `airflow dags test` of a DAG with a deadline raises at the end of the run, when every task has succeeded:
# 'dict' object has no attribute 'hex'. The run stays "running" in the database. Without the deadline the DAG succeeds.
#
# The command serializes the DAG in memory and takes the deadline's definition for the id of a stored one. The scheduler
# reads the DAG from the database, where the definition has been replaced by an id, so only the test of a DAG meets this
# (issue 73428).
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2
mkdir -p "$here/airflow/dags"
cat > "$here/airflow/dags/late.py" <<'PYTHON'
from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, AsyncCallback, DeadlineAlert, DeadlineReference


async def tell() -> None:
    print("late")


LATE = DeadlineAlert(
    reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=timedelta(hours=1), callback=AsyncCallback(tell)
)
for name, deadline in (("with_deadline", LATE), ("without_deadline", None)):
    with DAG(name, schedule=None, deadline=deadline):
        EmptyOperator(task_id="work")
PYTHON
"$here/venv/bin/airflow" db migrate > "$here/migrate.log" 2>&1
try() {
  if "$here/venv/bin/airflow" dags test "$1" > "$here/$1.log" 2>&1; then echo "$1: exit code 0"; else echo "$1: exit code $?"; fi
  grep -o "'dict' object has no attribute 'hex'" "$here/$1.log" | head -1 || true
  "$here/venv/bin/airflow" dags list-runs "$1" -o plain 2>/dev/null | grep -oE 'manual__.* (running|success|failed)' | awk '{print "the run is " $NF}'
}
seen=$(try without_deadline && try with_deadline)
echo "$seen"
[[ $seen == "without_deadline: exit code 0"*"the run is success"*"with_deadline: exit code 1"*"'hex'"*"the run is running" ]] || {
  echo "changed" >&2
  exit 1
}
