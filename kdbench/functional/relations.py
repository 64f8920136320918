"""Functions of pairs of rows."""
