"""Points: warm-up, steady window, drain; preflight checks."""
