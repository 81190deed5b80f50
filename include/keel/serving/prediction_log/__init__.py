"""The prediction log on its way to the store: records, the spool, and the thread that ships them."""
