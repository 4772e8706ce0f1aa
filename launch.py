"""Trains, evaluates, compiles, exports or captions from a clone; `capjax train` and its siblings do the same.

python launch.py --config configs/NAME.py[:arg] --workdir DIR --mode=train|eval|compile|export [--config.key=value ...]
python launch.py --mode=bulk --workdir DIR --input ... --output DIR
"""

import sys

from capjax.commands.launch import main
from capjax.runtime import run_guarded

if __name__ == "__main__":
    sys.exit(run_guarded("launch.py", main))
