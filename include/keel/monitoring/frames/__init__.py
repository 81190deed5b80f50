"""Compare two tables of any form, without a workspace: what `keel.detect` does before anything is drawn."""
