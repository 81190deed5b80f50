"""Replay the past under a policy: what Keel would have decided, retrained and promoted, and at what cost."""
