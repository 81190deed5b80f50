"""The versions that answer: what the store wants, loading, warming, and fast scoring paths."""
