#!/usr/bin/env bash
# The scoring service reads its clients' API keys from a file, so that keys can be added while it runs. To use your own
# file, mount it over KEEL_API_KEYS_FILE.
set -euo pipefail

if [ ! -e "$KEEL_API_KEYS_FILE" ]; then
  (umask 077 && printf 'compose:%s\n' "$KEEL_API_KEY" > "$KEEL_API_KEYS_FILE")
fi
unset KEEL_API_KEY
exec keel serve
