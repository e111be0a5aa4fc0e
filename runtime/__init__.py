"""Runs on a device: numpy, onnx and onnxruntime only."""
