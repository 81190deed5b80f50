#!/usr/bin/env bash
# Playwright 1.65.2 and Chromium: the event "request" fires for a request that the page's own policy has blocked.
#
# A page with a Content-Security-Policy of default-src 'none' names an image. Chromium does not ask the server for it,
# but page.on("request") reports it like every other request. Only "requestfailed" with the failure "csp" tells. A test
# that counts "request" events to show that a page makes no request fails for a page that makes none, and one that
# forbids them all cannot tell a policy that works from one that is missing. What the server has seen is sure.
# Needs a Chromium: CHROMIUM=path, by default that of the PATH.
set -euo pipefail
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
[[ -n $chromium ]] || { echo "no Chromium found; name it with CHROMIUM=path" >&2; exit 2; }
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet playwright==1.65.2
seen=$("$here/venv/bin/python" - "$chromium" <<'PYTHON'
import http.server
import sys
import threading

from playwright.sync_api import sync_playwright

POLICY = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
served = []


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        served.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/html" if self.path.endswith("page") else "image/png")
        self.end_headers()
        if self.path.endswith("page"):
            policy = POLICY if self.path.startswith("/with/") else ""
            self.wfile.write(f'<!doctype html>{policy}<title>-</title><img src="picture" alt="">'.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = f"http://127.0.0.1:{server.server_port}"
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox", "--disable-gpu"])
    for folder in ("/without", "/with"):
        page, events = browser.new_page(), []
        page.on("request", lambda r: events.append(("request", r)))
        page.on("requestfailed", lambda r: events.append((f"requestfailed ({r.failure})", r)))
        page.goto(f"{home}{folder}/page", wait_until="networkidle")
        told = [name for name, request in events if request.url.endswith("/picture")]
        print(f"{folder[1:]} policy: events {', '.join(told)}; served {served.count(folder + '/picture')} times")
    browser.close()
PYTHON
)
echo "$seen"
[[ $seen == "without policy: events request; served 1 times
with policy: events request, requestfailed (csp); served 0 times" ]] || {
  echo "changed" >&2
  exit 1
}
