"""Result directories: write, read, compare."""
