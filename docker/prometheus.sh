#!/bin/sh
# Prometheus reads the key for the scoring service's metrics from a file, because its configuration knows no variables.
set -eu

(umask 077 && printf '%s' "$KEEL_METRICS_KEY" > "$KEEL_METRICS_KEY_FILE")
unset KEEL_METRICS_KEY
exec prometheus "$@"
