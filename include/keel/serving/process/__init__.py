"""The server's processes: starting, supervising, stopping."""
