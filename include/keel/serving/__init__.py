"""The scoring service: answers by the version in production, and keeps every answer."""
