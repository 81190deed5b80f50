#!/usr/bin/env bash
# The scoring service reads its clients' API keys from a file, so that keys can be added while it runs. To use your own
# file, mount it over KEEL_API_KEYS_FILE; Prometheus reads with a key that may read.
set -euo pipefail

if [ ! -e "$KEEL_API_KEYS_FILE" ]; then
  (umask 077 && printf 'compose:%s\nprometheus:%s read\n' "$KEEL_API_KEY" "$KEEL_METRICS_KEY" > "$KEEL_API_KEYS_FILE")
fi
unset KEEL_API_KEY KEEL_METRICS_KEY
exec keel serve
