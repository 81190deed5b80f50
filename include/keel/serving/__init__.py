"""The scoring service: answers requests with the versions in production, and stores every answer."""
