"""Passes: they decide, train and search."""
