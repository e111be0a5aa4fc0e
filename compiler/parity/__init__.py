"""Parity: what ONNX Runtime computes from a file beside what torch computes."""
