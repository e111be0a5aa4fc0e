"""Gradual pruning: zeros that rise while the network trains."""
