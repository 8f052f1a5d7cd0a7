"""Spearman's rank correlation."""

import numpy as np


def ranks(values):
    """The rank of every value; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(a, b):
    return float(np.corrcoef(ranks(a.ravel()), ranks(b.ravel()))[0, 1])
