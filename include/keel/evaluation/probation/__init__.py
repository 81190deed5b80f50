"""A promoted version against the version before it, on the same live rows."""
