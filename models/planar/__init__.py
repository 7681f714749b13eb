"""Layers on the plane: convolutions, nonlinearities, normalisation, pooling, residual blocks."""
