"""Result directories: write them, read them and others', compare them."""
