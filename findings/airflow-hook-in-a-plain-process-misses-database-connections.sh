#!/usr/bin/env bash
# Airflow 3.3.2: in a plain Python process, BaseHook.get_connection says that a connection "isn't defined" which
# `airflow connections add` has just stored and `airflow connections get` shows. A connection in a variable is found.
#
# Since Airflow 3 the SDK asks the running task's supervisor, and a process that is no task has none: only variables and
# configured secrets backends are left. Airflow's own server processes are told apart by a variable that is not
# documented. A cron job, a notebook or an exporter that uses a provider's hook meets this, and Airflow 2 answered.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2
"$here/venv/bin/airflow" db migrate > "$here/migrate.log" 2>&1
"$here/venv/bin/airflow" connections add stored --conn-type generic --conn-host db > "$here/add.log" 2>&1
"$here/venv/bin/airflow" connections get stored -o plain 2>/dev/null | grep -q stored && echo "the command line shows the stored one"
cat > "$here/ask.py" <<'PYTHON'
import warnings

warnings.filterwarnings("ignore")
from airflow.sdk import BaseHook

for name in ("stored", "variable"):
    try:
        print(f"{name}: host {BaseHook.get_connection(name).host}")
    except Exception as error:
        print(f"{name}: {type(error).__name__}")
PYTHON
seen=$(AIRFLOW_CONN_VARIABLE=generic://elsewhere "$here/venv/bin/python" "$here/ask.py" 2>/dev/null | grep -E '^(stored|variable):')
echo "$seen"
[[ $seen == "stored: AirflowNotFoundException"*"variable: host elsewhere" ]] || {
  echo "changed" >&2
  exit 1
}
