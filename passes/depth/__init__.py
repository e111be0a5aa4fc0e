"""Depth: leaving out whole residual blocks."""
