"""From validated rows to answers: routing, micro-batches, scoring."""
