"""SCAS: architectures that are chosen for what is left of them when most weights are zero."""
