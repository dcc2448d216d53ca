"""Engine model, simulated worker and the embedded cluster. Everything here is simulated."""
