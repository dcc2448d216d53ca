"""The recording of a session: append, tail, read, session directories."""
