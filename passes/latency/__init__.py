"""Latency: widths that meet a measured latency."""
