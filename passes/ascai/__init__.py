"""ASCAI: genetic search over pruning ratios and ranks, alone and combined.

Source:
    Javaheripi, Samragh, Javidi, Koushanfar, ASCAI: Adaptive Sampling for acquiring Compact AI,
    arXiv 1911.06471, 2019.
"""
