"""A durable local log of records on their way to the store: what it has accepted survives whatever ends the process."""
