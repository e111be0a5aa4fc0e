"""Search spaces: what a search may decide as a vector of numbers, and the bounds on it.

Every search over widths, zeros and ranks uses these: a point of a space stands for a plan, and a
point that breaks a bound is moved to where the bound just holds.
"""
