"""ONNX in: from a ModelProto to the Program that torch.export gives of the same network."""
