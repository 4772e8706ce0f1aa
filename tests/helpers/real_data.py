"""Where real photos and captions are, for the tests and benchmarks that can use them."""

import os
from pathlib import Path


def find_real_data() -> Path | None:
    """$CAPJAX_DATA, or a folder `data` one level down beside the checkout, that holds `flickr8k/Flickr8k_text`."""
    beside = Path(__file__).resolve().parents[3].glob("*/data")
    candidates = [Path(os.environ["CAPJAX_DATA"])] if "CAPJAX_DATA" in os.environ else sorted(beside)
    return next((path for path in candidates if (path / "flickr8k" / "Flickr8k_text").is_dir()), None)
