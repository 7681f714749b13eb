"""Simulated arcs in real cutouts, for training and for injection and recovery."""
