"""Sweeping: several targets for one model, and the front of files that they give."""
