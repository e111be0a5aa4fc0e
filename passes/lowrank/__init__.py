"""Lowrank: which layers become products of smaller ones, and of what rank."""
