"""`python -m capjax.metrics`: see capjax.metrics.command."""

import sys

from capjax.metrics.command import main

if __name__ == "__main__":
    sys.exit(main())
