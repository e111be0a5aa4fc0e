"""Reconstruction: least squares say what a layer is worth and give it new weights."""
