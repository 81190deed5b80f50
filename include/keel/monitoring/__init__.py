"""What a window of production shows, and what follows from it."""
