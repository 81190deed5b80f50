"""What a message says: a decision, a failure, findings, a request for approval."""
