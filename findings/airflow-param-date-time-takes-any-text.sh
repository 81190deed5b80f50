#!/usr/bin/env bash
# Airflow 3.3.2: a Param with format "date-time" takes any text, while "date" and "email" refuse what is none.
#
# The check is jsonschema's, which knows "date-time" only where the package rfc3339-validator is installed. Airflow does
# not require it, and says nothing when it is missing. The form in the web page offers a date picker, so the gap shows
# with runs that are started by the API, the command line or another DAG: a task that parses the text is the first to
# notice. With rfc3339-validator 0.1.4 beside it, the same Param refuses the same text.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow"
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2 jsonschema==4.26.0
cat > "$here/ask.py" <<'PYTHON'
import warnings

warnings.filterwarnings("ignore")
from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError

for form, text in (("date-time", "yesterday"), ("date", "yesterday"), ("email", "yesterday")):
    try:
        Param(text, type="string", format=form).resolve()
        print(f"{form} takes {text!r}")
    except ParamValidationError:
        print(f"{form} refuses {text!r}")
PYTHON
before=$("$here/venv/bin/python" "$here/ask.py" 2>/dev/null | grep yesterday)
"$here/venv/bin/pip" install --quiet rfc3339-validator==0.1.4
after=$("$here/venv/bin/python" "$here/ask.py" 2>/dev/null | grep yesterday)
printf 'as installed:\n%s\nwith rfc3339-validator:\n%s\n' "$before" "$after"
[[ $before == "date-time takes"*"date refuses"*"email refuses"* && $after == "date-time refuses"* ]] || {
  echo "changed" >&2
  exit 1
}
