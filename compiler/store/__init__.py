"""The store: one identity recipe and one home for everything that a run can resume from."""
