"""`python -m capjax`: the command `capjax`."""

import sys

from capjax.cli import main

if __name__ == "__main__":
    sys.exit(main())
