"""From a Program to an ONNX file, and the check that both compute the same."""
