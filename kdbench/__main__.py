"""`python -m kdbench`."""

import sys

from kdbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
