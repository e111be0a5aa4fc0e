"""One function per ONNX operator, onto operations of torch that the rules know."""
