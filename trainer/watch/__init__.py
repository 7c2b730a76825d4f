"""A run or a server, live in the terminal."""
