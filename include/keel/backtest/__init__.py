"""Replay the past under a policy: what Keel would have said, retrained and promoted, and at what cost."""
