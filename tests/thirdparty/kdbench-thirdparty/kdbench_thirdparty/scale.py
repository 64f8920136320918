"""A module beside the method's, which belongs to its code."""

FACTOR = 0.5
