"""What was answered, on its way to the store."""
