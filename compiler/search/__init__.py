"""Black-box search: what a plan costs, how good it is, and where it is evaluated.

Searches share this: an :class:`~compressc.search.evaluation.Evaluator` turns plans into trials,
on this process, on others, or on a cluster.
"""
