"""HTTP: routes, request formats, limits, and error responses."""
