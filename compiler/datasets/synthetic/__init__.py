"""Synthetic samples: inputs made from a trained network alone."""
