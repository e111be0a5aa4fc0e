"""The pipeline: one run from a model and a goal to a verified, measured file."""
