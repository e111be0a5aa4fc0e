"""Factors: layers of low rank as products of smaller ones."""
