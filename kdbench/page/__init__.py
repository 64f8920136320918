"""A board -> one HTML file that opens from disk: no network, readable without JavaScript.

Same board, same bytes. `answer`, `grid`, `across`, `papers` and `trials` say in plain data what the
page shows, `view` puts it in order, `template/` is its markup, style and script, `bundle` the
library that sorts and filters, `plots` are its pictures, and `folder` writes the file and checks
one.
"""

from kdbench.page.folder import NAME, check, write
from kdbench.page.plot import Plot
from kdbench.page.whole import digest, render

__all__ = ["NAME", "Plot", "check", "digest", "render", "write"]
