"""Writes ONNX files with Keras and tf2onnx; runs in an environment that has TensorFlow.

python benchmarks/onnx_in_keras.py small_cnn model.onnx
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def main(name: str, path: str) -> None:
    """Build one network and write it for any batch."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tensorflow: Any = importlib.import_module("tensorflow")
    converter: Any = importlib.import_module("tf2onnx")
    tensorflow.random.set_seed(0)
    keras = tensorflow.keras
    if name == "mobilenet_v2":
        shape = (96, 96, 3)
        model = keras.applications.MobileNetV2(weights=None, input_shape=shape, alpha=0.35)
    else:
        shape = (32, 32, 3)
        layers = keras.layers
        model = keras.Sequential(
            [
                layers.Input(shape),
                layers.Conv2D(16, 3, padding="same", activation="relu"),
                layers.BatchNormalization(),
                layers.MaxPooling2D(),
                layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
                layers.DepthwiseConv2D(3, padding="same"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(64, activation="relu"),
                layers.Dense(10, activation="softmax"),
            ]
        )
    signature = [tensorflow.TensorSpec((None, *shape), tensorflow.float32, name="image")]
    function = tensorflow.function(model, input_signature=signature)
    converter.convert.from_function(function, input_signature=signature, opset=15, output_path=path)


if __name__ == "__main__":
    main(*sys.argv[1:])
