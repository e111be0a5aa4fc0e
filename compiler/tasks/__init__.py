"""Tasks: what a model is for, as data, loss and metric."""
