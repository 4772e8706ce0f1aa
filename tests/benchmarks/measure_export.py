"""Does an exported model say what the checkpoint says, and how fast is it?

    python tests/benchmarks/measure_export.py --workdir runs/flickr8k --export runs/flickr8k/export \\
        --photos data/flickr8k@val --folder DOWNLOAD/Flicker8k_Dataset

The photos' JPEG files are captioned by the checkpoint (`capjax caption`'s path) with the export's decoding options, and
by the SavedModel: from the files, which TensorFlow decodes and resizes, and from the checkpoint's own pixels.
"""

import argparse
import time
import timeit
from pathlib import Path

import numpy as np

import capjax
from capjax.data.pipeline import DatasetSplit
from capjax.data.transforms import view
from capjax.export.saved_model_generator import SavedModelGenerator


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--export", type=Path, required=True)
    parser.add_argument("--photos", required=True, metavar="DIR@SPLIT", help="a dataset of photos, with its pictures")
    parser.add_argument("--folder", type=Path, help="of the photos' own files; without it, as the dataset stores them")
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    import tensorflow as tf

    options = SavedModelGenerator(args.export).config.decode.to_dict()
    signatures = tf.saved_model.load(str(args.export)).signatures
    model = capjax.load(args.workdir, **options)
    parts, source = model.parts(**options), DatasetSplit.parse(args.photos).open()
    records = [source[i] for i in range(len(source))]
    jpegs = [(args.folder / one.media).read_bytes() if args.folder else one.frames[0] for one in records]
    print(f"{len(jpegs)} photos, decoding with " + ", ".join(f"{name}={value}" for name, value in options.items()))
    for lang in model.languages:
        wanted = [each.text for each in model.caption(jpegs, lang=lang, batch_size=args.batch_size, **options)]
        pixels = np.stack([view(model.read(jpeg).frames[0], parts.image_size) for jpeg in jpegs])
        for name, key, values in (("files", "photo", jpegs), ("pixels", "pixels", pixels)):
            start, said = time.perf_counter(), []
            for first in range(0, len(jpegs), args.batch_size):
                batch = values[first : first + args.batch_size]
                inputs = {"image_bytes" if key == "photo" else "pixels": tf.constant(batch)}
                out = signatures[key](**inputs, lang=tf.constant([lang] * len(batch)))
                said += [text.decode() for text in out["caption"].numpy()]
            seconds = time.perf_counter() - start
            apart = [pair for pair in zip(said, wanted, strict=True) if pair[0] != pair[1]]
            share = 1 - len(apart) / len(said)
            print(
                f"{lang}, from {name}: {len(said) - len(apart)} of {len(said)} captions identical ({share:.1%}), "
                f"{seconds:.1f} s with compilation"
            )
            for one, other in apart[:3]:
                print(f"  export:     {one}\n  checkpoint: {other}")
    signature = signatures["serving_default"]

    def seconds(call) -> float:
        """The best of three, after one that compiles."""
        call()
        return min(timeit.repeat(call, number=1, repeat=3))

    for size in (1, 8, 32):
        batch, same = tf.constant(jpegs[:size]), jpegs[:size]
        ours = seconds(lambda batch=batch: signature(image_bytes=batch))
        theirs = seconds(lambda same=same: model.caption(same, **options))
        print(f"a batch of {size}: {ours * 1e3:.0f} ms by the export, {theirs * 1e3:.0f} ms by the checkpoint")


if __name__ == "__main__":
    main()
