"""The sparse engine: a shared library for ONNX Runtime, or for ctypes without it.

Written in C++ (``native/``), built when the package is installed where a compiler is there. Files
with sparse nodes run without it, too: ONNX Runtime then runs their standard definition.
"""
