"""What a person sees: reads the state and sends commands to the runner, nothing else."""
