"""Coupling: which channels leave together, and what each axis of a value is made of."""
