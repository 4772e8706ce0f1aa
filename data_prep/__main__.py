"""`python -m data_prep`: the same as `capjax prepare`; see data_prep.cli."""

import sys

from capjax import cli

if __name__ == "__main__":
    sys.exit(cli.main(["prepare", *sys.argv[1:]]))
