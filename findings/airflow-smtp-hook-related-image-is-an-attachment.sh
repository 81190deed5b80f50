#!/usr/bin/env bash
# Airflow's SMTP provider 3.2.0: a mail with an inline image is sent, but the image is described as a download.
#
# SmtpHook.send_email_smtp takes files and mime_subtype="related", and gives each file a Content-ID, so that
# <img src="cid:chart.png"> in the HTML finds it. But whatever the file is, its part is application/octet-stream with
# "Content-Disposition: attachment", and there is no text/plain part beside the HTML. What a mail program makes of it is
# its own choice: one that goes by the type or the disposition lists a file to download instead of showing the image.
# The standard library's EmailMessage.add_related makes image/png with "inline" from the same file.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
export AIRFLOW_HOME="$here/airflow"
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet apache-airflow==3.3.2 apache-airflow-task-sdk==1.3.2 \
  apache-airflow-providers-smtp==3.2.0 aiosmtpd==1.4.6
cat > "$here/send.py" <<'PYTHON'
import base64
import email
import email.policy
import json
import os
import socket
import sys
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller

received = []


class Keep:
    async def handle_DATA(self, server, session, envelope):
        received.append(envelope.content)
        return "250 OK"


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = Controller(Keep(), hostname="127.0.0.1", port=port)
server.start()
os.environ["AIRFLOW_CONN_SMTP_DEFAULT"] = json.dumps(
    {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": port,
        "extra": {"disable_ssl": True, "disable_tls": True, "from_email": "from@example.com"},
    }
)
from airflow.providers.smtp.hooks.smtp import SmtpHook  # reads the environment

html = '<p>Here it is.</p><img src="cid:chart.png" alt="a chart">'
chart = Path(sys.argv[1], "chart.png")
chart.write_bytes(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    )
)
with SmtpHook() as hook:
    hook.send_email_smtp(
        to="to@example.com", subject="a chart", html_content=html, files=[str(chart)], mime_subtype="related"
    )
server.stop()
plain = EmailMessage()
plain.set_content(html, subtype="html")
plain.add_related(chart.read_bytes(), "image", "png", cid="<chart.png>", disposition="inline", filename="chart.png")
for name, message in (("SmtpHook", email.message_from_bytes(received[0], policy=email.policy.default)), ("email", plain)):
    for part in message.walk():
        print(name, part.get_content_type(), part.get_content_disposition(), part["Content-ID"])
PYTHON
seen=$("$here/venv/bin/python" "$here/send.py" "$here" 2>"$here/stderr" | grep -E '^(SmtpHook|email) ') || {
  cat "$here/stderr" >&2
  exit 1
}
echo "$seen"
[[ $seen == "SmtpHook multipart/related None None
SmtpHook text/html None None
SmtpHook application/octet-stream attachment <chart.png>
email multipart/related None None
email text/html None None
email image/png inline <chart.png>" ]] || {
  echo "changed" >&2
  exit 1
}
