"""Residual blocks that may be left out: what each loses, and in what order they leave."""
