"""Unit features: numbers about the units of every ChannelGroup that may shrink.

:func:`compressc.passes.unit_features.registry.measure_feature` is the door: a name in, an array
per group out. Importances, orders of channels and states of learners are read from here.
"""
