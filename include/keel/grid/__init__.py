"""The reference grid, the counts of a window on it, the kernel that counts, and the engines that run the kernel."""
