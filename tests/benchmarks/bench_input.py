"""JPEG files to training batches: this project's pipeline against its peers, on the same files and the same cores.

    python tests/benchmarks/bench_input.py [--rounds 3] [--seconds 4] [--scale 0.5 1.0]

Every contender reads the same 640x480 files and gives shuffled uint8 [32, 224, 224, 3] batches of random resized crops.
Each runs in a process of its own; they take turns, round after round, and the median over rounds counts, so that other
work on the machine hits all alike. Ours also draws a caption for each image and makes its target, which the others do
not.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, BATCH, THREADS = 224, 32, 2
ASPECT = (3 / 4, 4 / 3)
ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))
from tests.helpers.real_data import find_real_data  # noqa: E402


def write_files(directory: Path, count: int):
    """640x480 JPEG files, quality 90: real photos brought to that size, or noise with the spectrum of photos."""
    data = find_real_data()
    photos = sorted(data.glob("flickr8k/Flicker8k_Dataset/*.jpg")) if data else []
    large = [path for path in photos if min(Image.open(path).size) >= 300][:count] or photos[:count]
    rng = np.random.default_rng(0)
    for i in range(count):
        image = Image.open(large[i % len(large)]).convert("RGB") if large else Image.fromarray(natural_noise(rng))
        image.resize((640, 480), Image.Resampling.BICUBIC).save(directory / f"{i:05}.jpg", quality=90)


def natural_noise(rng: np.random.Generator, height: int = 480, width: int = 640) -> np.ndarray:
    """uint8 [height, width, 3] with amplitudes that fall as 1 / frequency, as in photos (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1.0
    spectrum = np.exp(2j * np.pi * rng.random((3, *frequency.shape))) / frequency
    planes = np.fft.irfft2(spectrum, (height, width))
    planes = 128 + 50 * (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
    return np.ascontiguousarray(planes.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


# ---- Contenders: each takes the files and the range of crop areas, and gives batches without end


def ours(files: list[Path], scale: tuple[float, float]) -> Iterator:
    from capjax import runtime
    from capjax.config import default_config
    from capjax.data.pipeline import make_train_iterator
    from capjax.data.record import Record, RecordCaption
    from capjax.text import vocabulary

    runtime.start(training=True)  # as launch.py does

    class Files:
        languages = None  # not recorded: read from the captions

        def __len__(self):
            return len(files)

        def __getitem__(self, index: int) -> Record:
            captions = tuple(RecordCaption(f"a photo of thing number {index} in a place, take {n}") for n in range(5))
            return Record(id=str(index), media="", captions=captions, frames=(files[index].read_bytes(),))

    texts = [caption.text for record in map(Files().__getitem__, range(50)) for caption in record.captions]
    data = default_config().data
    data.crop_scale, data.crop_aspect, data.threads, data.image_size = scale, ASPECT, THREADS, SIZE
    batches = make_train_iterator(
        ["files@train"], vocabulary.Vocabulary(vocabulary.train({"en": texts}, size=400)), data,
        batch_size=BATCH, seed=0, sources=[Files()],
    )  # fmt: skip
    return (batch["frames"] for batch in batches)


def crop_with_pillow(data: bytes, scale: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    from capjax.data.transforms import random_box

    image = Image.open(io.BytesIO(data)).convert("RGB")
    box = random_box(rng, image.height, image.width, scale=scale, aspect=ASPECT)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))


def grain_with_pillow(files: list[Path], scale: tuple[float, float]) -> Iterator:
    import grain

    images = grain.MapDataset.source(files).seed(0).shuffle().repeat()
    images = images.random_map(lambda path, rng: crop_with_pillow(path.read_bytes(), scale, rng))
    return iter(images.to_iter_dataset(grain.ReadOptions(THREADS, 4 * BATCH)).batch(BATCH))


def torch_dataloader(files: list[Path], scale: tuple[float, float]) -> Iterator:
    import torch

    class Files(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, index: int):
            rng = np.random.default_rng(int(torch.randint(1 << 62, ())))
            return torch.from_numpy(crop_with_pillow(files[index].read_bytes(), scale, rng).copy())

    sampler = torch.utils.data.RandomSampler(range(len(files)), replacement=True, num_samples=1 << 20)
    return iter(torch.utils.data.DataLoader(Files(), BATCH, sampler=sampler, num_workers=2))


def tf_data(files: list[Path], scale: tuple[float, float]) -> Iterator:
    import tensorflow as tf

    whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])

    def load(path):
        data = tf.io.read_file(path)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(data), whole, min_object_covered=0.0, aspect_ratio_range=ASPECT, area_range=scale,
            use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        window = tf.stack([begin[0], begin[1], extent[0], extent[1]])
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        return tf.cast(tf.image.resize(image, [SIZE, SIZE]), tf.uint8)

    images = tf.data.Dataset.from_tensor_slices([str(path) for path in files]).shuffle(len(files)).repeat()
    images = images.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
    return images.batch(BATCH).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


CONTENDERS: dict[str, Callable] = {
    "capjax": ours,
    "torch DataLoader, 2 workers": torch_dataloader,
    "tf.data, fused decode and crop": tf_data,
    "Grain with Pillow, 2 threads": grain_with_pillow,
}


def run(name: str, directory: Path, scale: tuple[float, float], seconds: float) -> float:
    """Images a second of one contender, after a warm-up."""
    # Repeated, so that shuffling has a real dataset's work to do.
    batches = CONTENDERS[name](sorted(directory.glob("*.jpg")) * 32, scale)
    until, count = time.perf_counter() + 1.5, 0
    while time.perf_counter() < until or count < 8:
        shape, count = tuple(next(batches).shape), count + 1
    if sorted(shape) != sorted((BATCH, SIZE, SIZE, 3)) and sorted(shape) != sorted((BATCH, 1, SIZE, SIZE, 3)):
        raise AssertionError(f"{name} gave a batch of shape {shape}")
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += BATCH
    return count / elapsed


def compare(directory: Path, scale: tuple[float, float], seconds: float, rounds: int) -> dict[str, list[float]]:
    """{contender: images a second of each round}; one process each, taking turns."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--only", name, "--files", str(directory), "--seconds", str(seconds)]
            command += ["--scale", *map(str, scale)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", "JAX_PLATFORMS": "cpu"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
            rates[name].append(float(done.stdout.split()[-1]))
    return rates


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured in each round for each contender")
    parser.add_argument("--scale", type=float, nargs=2, default=(0.5, 1.0), help="share of the area a crop keeps")
    parser.add_argument("--count", type=int, default=256, help="files")
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(run(args.only, args.files, tuple(args.scale), args.seconds), flush=True)
        os._exit(0)  # peers' worker threads and processes need not be waited for
    with tempfile.TemporaryDirectory() as directory:
        write_files(Path(directory), args.count)
        rates = compare(Path(directory), tuple(args.scale), args.seconds, args.rounds)
    mine = statistics.median(rates["capjax"])
    print(f"crops of {args.scale[0]:g} to {args.scale[1]:g} of the area, {os.cpu_count()} cores")
    print(f"{'':34}{'images/s':>10}{'capjax is':>12}   rounds")
    for name, values in rates.items():
        rate = statistics.median(values)
        print(f"{name:34}{rate:10.0f}{mine / rate:11.2f}x   {' '.join(f'{value:.0f}' for value in values)}")


if __name__ == "__main__":
    main()
