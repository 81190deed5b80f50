#!/usr/bin/env bash
# Airflow 3.3.2: the first connection that a trigger asks for, and that is no AIRFLOW_CONN_ variable, makes the triggerer
# build the whole task API inside itself, every version of it. That takes hundreds of times as long as the second.
#
# The process that does this is the one that writes the triggerer's heartbeat and stores the triggers' events. On a busy
# or small machine other triggerers may take it for dead meanwhile. A variable is found without the API.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow" AIRFLOW__CORE__LOAD_EXAMPLES=False
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2
"$here/venv/bin/airflow" db migrate > "$here/migrate.log" 2>&1
"$here/venv/bin/airflow" connections add warehouse --conn-type generic --conn-host db > "$here/add.log" 2>&1
cat > "$here/ask.py" <<'PYTHON'
import time
import warnings

warnings.filterwarnings("ignore")
from airflow.jobs import triggerer_job_runner  # what the running triggerer has loaded already
from airflow.sdk.api.client import Client


api = triggerer_job_runner.in_process_api_server()


def lookup() -> float:
    began = time.process_time()
    transport = api.transport  # made once, as in the triggerer
    client = Client(base_url=None, token="", dry_run=True, transport=transport)
    client.base_url = "http://in-process.invalid./"
    assert client.connections.get("warehouse").host == "db"
    return time.process_time() - began


first, second, third = lookup(), lookup(), lookup()
from airflow.api_fastapi.execution_api.versions import bundle

print(f"first: {first:.1f} s of processor; second: {second:.3f} s; {len(bundle.versions)} versions of the API")
print("first takes over 100 times as long" if first > 100 * max(second, third) else "first is about as fast")
PYTHON
seen=$("$here/venv/bin/python" "$here/ask.py" 2>/dev/null | grep first)
echo "$seen"
[[ $seen == *"over 100 times as long" ]] || {
  echo "changed" >&2
  exit 1
}
