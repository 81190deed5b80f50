"""The pages for people: documents around the pages of `keel.reports`, which send the requests of the REST API."""
