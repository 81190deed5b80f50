#!/usr/bin/env bash
# The scoring service reads its clients' keys from a file, so that more can be added while it runs: mount one of your own
# over KEEL_API_KEYS_FILE and it is used as it is.
set -euo pipefail

if [ ! -e "$KEEL_API_KEYS_FILE" ]; then
  (umask 077 && printf 'compose:%s\n' "$KEEL_API_KEY" > "$KEEL_API_KEYS_FILE")
fi
unset KEEL_API_KEY
exec keel serve
