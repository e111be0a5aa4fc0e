"""Latency as a goal: from measured kernels to what a plan will take."""
