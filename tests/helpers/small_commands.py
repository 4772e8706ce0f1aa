"""Runs the command `capjax` on less: fewer generated items, smaller pictures and fewer steps than the words say.

Tests of the documentation run its commands through this file, so that the commands themselves stay as users type them.
"""

import sys

TRAINING = (
    "train.steps=2", "train.batch_size=2", "train.eval_every=2", "train.log_every=1", "train.tensorboard=false",
    "checkpoint.every=2", "optimizer.warmup_steps=1", "eval.limit=2", "eval.batch_size=2", "decode.max_len=6",
    "decode.num_beams=2", "data.captions_per_item=1",
)  # fmt: skip
PIXELS = ("data.image_size=64",)


def smaller(words: list[str]) -> list[str]:
    """The words of a command with options that make it small."""
    command, rest = words[0], words[1:]
    if command == "demo":
        return [*words, "--count", "40", *_settings(TRAINING)]
    if command == "prepare" and rest[0] in ("shapes", "moving"):
        return [*words, "--count", "40"]  # the last of an option counts
    if command == "prepare" and rest[0] == "features":
        return [*words, "--image-size", "64"]
    if command in ("train", "eval", "export"):
        config = rest[rest.index("--config") + 1]
        return [*words, *_settings(TRAINING), *(_settings(PIXELS) if config == "photos" else [])]
    return words


def _settings(settings) -> list[str]:
    return [f"--config.{setting}" for setting in settings]


if __name__ == "__main__":
    from capjax.cli import main

    sys.exit(main(smaller(sys.argv[1:])))
