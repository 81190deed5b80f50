"""Compare a promoted version with the version before it, on the same live rows."""
