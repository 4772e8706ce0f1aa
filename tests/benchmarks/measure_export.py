"""Does an exported model say what the checkpoint says, and how fast is it?

    python tests/benchmarks/measure_export.py --workdir runs/flickr8k --export runs/flickr8k/export \\
        --photos data/flickr8k@val

The photos' JPEG files are captioned by the checkpoint (`capjax caption`'s path) with the export's decoding options, and
by the SavedModel: from the files, which TensorFlow decodes and resizes, and from the checkpoint's own pixels.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import capjax
from capjax.data.pipeline import Part
from capjax.data.transforms import view
from capjax.export.served import Served


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--photos", required=True, metavar="DIR@SPLIT", help="a dataset of photos, with its pictures")
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    import tensorflow as tf

    options = Served(args.export).config.decode.to_dict()
    signatures = tf.saved_model.load(str(args.export)).signatures
    model = capjax.load(args.workdir, **options)
    parts, source = model.parts(**options), Part.parse(args.photos).open()
    jpegs = [source[i].frames[0] for i in range(len(source))]
    print(f"{len(jpegs)} photos, decoding with " + ", ".join(f"{name}={value}" for name, value in options.items()))
    for lang in model.languages:
        wanted = [each.text for each in model.caption(jpegs, lang=lang, batch_size=args.batch_size, **options)]
        seen = [parts.picture, parts.image_size]
        pixels = np.stack([view(model.read(jpeg).frames[0], seen[1]) for jpeg in jpegs])
        for name, key, values in (("files", "photo", jpegs), ("pixels", "pixels", pixels)):
            start, said = time.perf_counter(), []
            for first in range(0, len(jpegs), args.batch_size):
                batch = values[first : first + args.batch_size]
                inputs = {"image_bytes" if key == "photo" else "pixels": tf.constant(batch)}
                out = signatures[key](**inputs, lang=tf.constant([lang] * len(batch)))
                said += [text.decode() for text in out["caption"].numpy()]
            same = [one == other for one, other in zip(said, wanted, strict=True)]
            print(f"{lang}, from {name}: {sum(same)} of {len(same)} captions identical ({np.mean(same):.1%}), "
                  f"{time.perf_counter() - start:.1f} s with compilation")  # fmt: skip
            for one, other in [pair for pair, is_same in zip(zip(said, wanted, strict=True), same, strict=True) if not is_same][:3]:
                print(f"  export:     {one}\n  checkpoint: {other}")
    signature = signatures["serving_default"]
    for size in (1, 8, 32):
        batch = tf.constant(jpegs[:size])
        signature(image_bytes=batch)
        start = time.perf_counter()
        for _ in range(3):
            signature(image_bytes=batch)
        print(f"a batch of {size}: {(time.perf_counter() - start) / 3 * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
