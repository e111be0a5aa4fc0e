"""What runs on a device: open, time and cost ONNX files with numpy, onnx and onnxruntime only.

Nothing in here imports torch or the rest of compressc. Names are resolved on first use, so
``import compressc.runtime`` costs nothing.
"""

from compressc.runtime.lazy_names import export_lazily

# What the package exports stands in __init__.pyi.
__getattr__, __dir__ = export_lazily(__name__, __file__)
