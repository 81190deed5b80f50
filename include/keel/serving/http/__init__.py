"""Requests in, responses out: routes, formats, limits."""
