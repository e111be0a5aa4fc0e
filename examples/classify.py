"""Run a compressed classifier on a device: the file itself says how pictures are read.

    python examples/classify.py small.onnx

Needs numpy and onnxruntime alone. The file is one that was made with `--data`, or of a checkpoint
that states its normalisation: mean, deviation and class names stand in its metadata.
"""

import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
said = session.get_modelmeta().custom_metadata_map
mean, std = (
    np.array([float(x) for x in said[f"compressc.normalization.{what}"].split()], np.float32)
    for what in ("mean", "std")
)
classes = said["compressc.classes"].split("\n")
channels, height, width = map(int, said["compressc.input_shape"].split())

# A picture of yours, as bytes (height, width, channels); here one of noise.
picture = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
inputs = (picture.astype(np.float32) / 255 - mean) / std
batch = inputs.transpose(2, 0, 1)[None]
(logits,) = session.run(None, {session.get_inputs()[0].name: batch})
print(f"class {classes[int(logits[0].argmax())]} of {', '.join(classes)}")
