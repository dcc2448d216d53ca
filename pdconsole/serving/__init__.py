"""What to start on the nodes, in which order, with which command line and environment."""
