"""Simulated full skies: matter shells, haloes, shear as a survey measures it, and the truth."""
