"""Compact storage: sparse weights in small files that stock ONNX Runtime loads."""
