"""The recording of a session: append, tail, logs, time series, session directories."""
