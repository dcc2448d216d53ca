"""Carries out experiments: control socket, deployments, points, results, resume."""
