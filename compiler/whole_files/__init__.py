"""ONNX files that are taken whole, because their networks cannot be converted."""
