#!/usr/bin/env bash
# apache-airflow-providers-slack 9.11.1: where Slack answers a webhook with 429 and says in Retry-After how long to wait,
# SlackWebhookHook.send raises an exception that has the body and the status as one text, and not the header.
#
# The exception is Airflow's general one, without the response: whoever catches it can tell a limit from a wrong address
# only by reading the sentence, and must guess the pause. The SDK's client below the hook, `hook.client`, returns the
# response with its headers and raises nothing.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow"
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-slack==9.11.1 slack-sdk==3.47.0 2>/dev/null
cat > "$here/post.py" <<'PYTHON'
import os
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

warnings.filterwarnings("ignore")


class Busy(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(429)
        self.send_header("Retry-After", "37")
        self.end_headers()
        self.wfile.write(b"rate_limited")

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Busy)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["AIRFLOW_CONN_HOOK"] = (
    f'{{"conn_type": "slackwebhook", "host": "http://127.0.0.1:{server.server_port}", "password": "T0/B0/x"}}'
)
from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

hook = SlackWebhookHook(slack_webhook_conn_id="hook")
try:
    hook.send(text="hello")
except Exception as error:
    known = "37" in f"{error} {vars(error)}" or hasattr(error, "response")
    print(f"hook.send: {type(error).__name__}, Retry-After {'known' if known else 'lost'}")
response = hook.client.send(text="hello")
print(f"hook.client.send: status {response.status_code}, Retry-After {response.headers.get('Retry-After')}")
PYTHON
seen=$("$here/venv/bin/python" "$here/post.py" 2>/dev/null | grep '^hook')
echo "$seen"
[[ $seen == "hook.send: AirflowException, Retry-After lost"*"status 429, Retry-After 37" ]] || {
  echo "changed" >&2
  exit 1
}
