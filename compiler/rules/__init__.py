"""Operation rules, one file per family."""
