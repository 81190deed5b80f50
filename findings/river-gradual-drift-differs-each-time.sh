#!/usr/bin/env bash
# river 0.26.1: a seeded FriedmanDrift with gradual drift gives other targets each time it is read.
#
# Within the transition window the old or the new concept is drawn from a generator that is made with the data set, not
# with the iteration. So a second pass over the same object differs from the first, while its features are equal. The
# two kinds with abrupt drift repeat. "Gradual" means here that both concepts are equally likely in the whole window:
# half of the rows are new ones from its first row on, as the documentation says and the name does not.
# Seen: 40 rows in a window of 40, of which about half differ between the first and the second pass.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet river==0.26.1
"$here/venv/bin/python" - <<'PYTHON'
import sys

from river.datasets.synth import FriedmanDrift

WINDOWS = {"gsg": (10, 1_000), "gra": (10, 1_000), "lea": (10, 20, 1_000)}
differing = {}
for kind, position in WINDOWS.items():
    data = FriedmanDrift(drift_type=kind, position=position, transition_window=40, seed=42)
    first, second = list(data.take(50)), list(data.take(50))
    if [x for x, _ in first] != [x for x, _ in second]:
        sys.exit(f"changed: the features of {kind} differ")
    differing[kind] = sum(a != b for (_, a), (_, b) in zip(first, second))
    print(f"{kind}: {differing[kind]} of 50 targets differ between two passes over one seeded data set")
if not differing["gsg"] or differing["gra"] or differing["lea"]:
    sys.exit("changed: other kinds than gsg differ, or gsg no longer does")
PYTHON
