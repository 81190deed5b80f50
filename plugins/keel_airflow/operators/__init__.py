"""One operator for each step of Keel, grouped by task. An operator calls one function of `keel` and returns a dict."""
