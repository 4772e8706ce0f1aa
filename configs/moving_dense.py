"""Dense captions of the generated videos, from scratch: every event with its start and end.

    capjax prepare moving --count 8000 --languages en --fps 5 --output data/moving
    capjax prepare vocabulary --input data/moving --output data/moving.model --size 800 --time-tokens 101
    python launch.py --config configs/moving_dense.py:queries --workdir runs/moving ...

With the argument `queries`, event queries find the events (as in PDVC); with `text`, the decoder writes their times
into the text (as in Vid2Seq).
"""

from capjax.configs import moving


def get_config(arg="queries"):
    config = moving.get_config("frames,transformer")
    config.name = f"moving_dense_{arg}"
    config.data.train = ("data/moving@train",)
    config.data.eval = "data/moving@val"
    config.data.vocabulary = "data/moving.model"
    config.data.task = "dense"
    config.data.max_events = 6
    config.data.captions_per_item = 1
    config.data.num_frames = 40
    config.model.encoder.options.differences = True
    config.model.temporal.options.mixers = 2
    config.model.events.queries = 10
    config.train.batch_size = 16
    config.train.ema = 0.995
    config.optimizer.warmup_steps = 100
    config.checkpoint.every = 200
    config.checkpoint.best = "SODA_c (ROUGE-L)"
    config.decode.num_beams = 2
    if arg == "text":
        config.train.steps = 1400
        config.train.eval_every = 700
        config.data.time_bins = 101
        config.data.target_len = 80
        config.decode.max_len = 76
    elif arg == "queries":
        # Events are found long before their captions are good: smaller weights leave the encoder to the captions.
        config.train.events = {
            "distance": 1.5,
            "overlap": 0.6,
            "pointer": 0.3,
            "confidence": 0.6,
            "count": 0.15,
            "frames": 0.6,
        }
        config.train.steps = 1200
        config.train.eval_every = 600
        config.data.target_len = 16
        config.decode.max_len = 13
    else:
        raise ValueError(f"moving_dense takes the argument queries or text; not {arg!r}")
    return config
