"""Sparse graphs: the part of an ONNX file that compressc's CPU engine runs as one node."""
