"""The versions in memory: which are wanted, loading and warming them, swapping."""
