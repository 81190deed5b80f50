#!/usr/bin/env bash
# Airflow 3.3.2: of a connection in a variable, AIRFLOW_CONN_*, whose JSON has a comma too many, BaseHook.get_connection
# says "The conn_id `warehouse` isn't defined". That the value cannot be read is in the log at level DEBUG only.
#
# The same for a secrets backend: whatever a backend raises counts as "not found here". `Connection.from_json` of the
# same value names the place of the fault. Somebody who reads that the connection is not defined looks for its name.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2
cat > "$here/ask.py" <<'PYTHON'
import os
import warnings

warnings.filterwarnings("ignore")
from airflow.sdk import BaseHook, Connection

RIGHT = '{"conn_type": "generic", "host": "db"}'
BROKEN = '{"conn_type": "generic", "host": "db",}'


def answer(ask) -> str:
    try:
        return f"host {ask().host}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


for name, value in (("right", RIGHT), ("broken", BROKEN)):
    os.environ["AIRFLOW_CONN_WAREHOUSE"] = value
    print(f"{name}, get_connection: {answer(lambda: BaseHook.get_connection('warehouse'))}")
print(f"broken, from_json: {answer(lambda: Connection.from_json(BROKEN, conn_id='warehouse'))}")
PYTHON
seen=$("$here/venv/bin/python" "$here/ask.py" 2>"$here/errors" | grep -E '^(right|broken),')
echo "$seen"
echo "lines on stderr: $(grep -c . "$here/errors" || true)"
[[ $seen == "right, get_connection: host db"*"broken, get_connection: AirflowNotFoundException: The conn_id \`warehouse\` isn't defined"*"from_json: "*"line 1 column"* ]] || {
  echo "changed" >&2
  exit 1
}
