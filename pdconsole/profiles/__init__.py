"""Finds, reads and checks the workspace's profile files."""
