"""What to say, to whom, and when to stay silent."""
