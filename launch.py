"""Trains, evaluates, compiles or exports from a clone; `capjax train` and its siblings do the same.

python launch.py --config configs/NAME.py[:arg] --workdir DIR --mode=train|eval|compile|export [--config.key=value ...]
"""

import sys

from capjax.cli import run_guarded
from capjax.commands.launch import main

if __name__ == "__main__":
    sys.exit(run_guarded("launch.py", main))
