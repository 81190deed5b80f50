"""The reference grid, counts on it, the counting kernel, and where the kernel runs."""
