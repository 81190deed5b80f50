"""The REST endpoints, a module a subject."""
