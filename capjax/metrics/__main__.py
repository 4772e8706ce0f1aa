"""`python -m capjax.metrics`: see capjax.metrics.cli."""

import sys

from capjax.metrics.cli import main

if __name__ == "__main__":
    sys.exit(main())
