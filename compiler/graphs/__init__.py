"""Graphs of torch.fx: sharing, copying, and training them."""
