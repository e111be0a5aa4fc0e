"""Passes that decide, repair and train; found by name through entry points."""

from compressc.runtime.lazy_names import export_lazily

# What the package exports stands in __init__.pyi.
__getattr__, __dir__ = export_lazily(__name__, __file__)
