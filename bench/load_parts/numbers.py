"""Small sums."""

import math


def percentile(values, share):
    """The smallest value that `share` of all do not exceed; none of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def per_span(times, start, end, span):
    """How many of the times fall into each whole span between start and end."""
    counts = [0] * int((end - start) / span + 1e-9)
    for time in times:
        place = int((time - start) / span)
        if 0 <= place < len(counts):
            counts[place] += 1
    return counts
