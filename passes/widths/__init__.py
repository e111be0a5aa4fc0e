"""Widths: how many units of each group stay, so that the goal is met."""
