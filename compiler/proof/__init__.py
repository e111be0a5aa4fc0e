"""The proof: the masked network, and whether the lowered one computes the same."""
