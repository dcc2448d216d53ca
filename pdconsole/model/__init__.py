"""Values and rules of prefill:decode exploration; pure, no I/O."""
