#!/usr/bin/env bash
# Airflow 3.3.2: the SyncCallback of a deadline cannot read a connection that `airflow connections add` has stored. The
# task API denies it, and BaseHook.get_connection raises AirflowSecretsBackendAccessDenied, a PermissionError. A task of
# the same DAG reads it. Of a connection that does not exist the callback hears the same; a task AirflowNotFoundException.
#
# A connection in a variable is found by both. So a notifier that works as a callback of a run, and catches what a task
# would raise, fails as the callback of a deadline. It takes minutes: a whole Airflow is started.
set -euo pipefail
here=$(mktemp -d)
stop() {
  [[ -z ${group:-} ]] || kill -- "-$group" 2> /dev/null || true
  sleep 5
  [[ -z ${group:-} ]] || kill -9 -- "-$group" 2> /dev/null || true
  rm -rf "$here"
}
trap stop EXIT
free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free)
export AIRFLOW_HOME="$here/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False SEEN="$here/seen"
export AIRFLOW__API__PORT=$port AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://localhost:$port/execution/"
AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT=$(free) AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT=$(free)
export AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT
export AIRFLOW_CONN_VARIABLE=generic://elsewhere
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2
export PATH="$here/venv/bin:$PATH"
mkdir -p "$here/airflow/dags"
cat > "$here/airflow/dags/late.py" <<'PYTHON'
import os
import time
from datetime import timedelta

from airflow.sdk import DAG, BaseHook, DeadlineAlert, DeadlineReference, SyncCallback, task


def ask(where: str) -> None:
    for name in ("stored", "variable", "missing"):
        try:
            found = f"host {BaseHook.get_connection(name).host}"
        except Exception as error:
            found = type(error).__name__
        with open(os.environ["SEEN"], "a") as file:
            file.write(f"{where}, {name}: {found}\n")


with DAG(
    "late",
    schedule=None,
    is_paused_upon_creation=False,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(seconds=1),
        callback=SyncCallback(ask, kwargs={"where": "callback"}),
    ),
):

    @task
    def work() -> None:
        ask("task")
        time.sleep(60)  # late

    work()
PYTHON
airflow db migrate > "$here/migrate.log" 2>&1
airflow connections add stored --conn-type generic --conn-host db > "$here/add.log" 2>&1
setsid airflow standalone > "$here/standalone.log" 2>&1 &
group=$!
wait_for() {
  for _ in $(seq 180); do
    if "$@" > /dev/null 2>&1; then return 0; fi
    sleep 1
  done
  echo "nothing after 180 tries of $1" >&2
  return 1
}
all_seen() { [[ $(grep -c . "$SEEN") == 6 ]]; }
wait_for curl --noproxy '*' --fail --silent "http://localhost:$port/api/v2/version" # before, a task or callback would fail
wait_for airflow dags trigger late
wait_for all_seen
seen=$(sort "$SEEN")
echo "$seen"
[[ $seen == "callback, missing: AirflowSecretsBackendAccessDenied
callback, stored: AirflowSecretsBackendAccessDenied
callback, variable: host elsewhere
task, missing: AirflowNotFoundException
task, stored: host db
task, variable: host elsewhere" ]] || {
  echo "changed" >&2
  exit 1
}
