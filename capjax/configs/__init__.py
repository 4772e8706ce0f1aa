"""The configs that come with capjax, one module per job: `from capjax.configs import flickr8k`.

This file stands for them in a clone, where they are in the folder `configs` beside the package; an installed capjax has
them in this folder.
"""

from pathlib import Path

__path__.append(str(Path(__file__).resolve().parents[2] / "configs"))
