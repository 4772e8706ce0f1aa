"""The built-in videos: every event with its start and its end, from scratch.

    python -m data_prep moving --languages en --fps 5 --output data/moving
    python -m data_prep vocabulary --input data/moving --output data/moving.model --size 800 --time-pieces 101
    python launch.py --config configs/moving_dense.py:queries --workdir runs/moving ...

`queries` finds events as a set (PDVC's form); `text` writes their times into the text (Vid2Seq's form).
"""

import common


def get_config(arg="queries"):
    config = common.get_config()
    config.name = f"moving_dense_{arg}"
    config.data.train = ("data/moving@train",)
    config.data.eval = "data/moving@val"
    config.data.vocabulary = "data/moving.model"
    config.data.task = "dense"
    config.data.events = 6
    config.data.frames = 32
    config.data.image_size = 64
    config.data.crop_scale = (1.0, 1.0)  # a crop would make "over the left edge" untrue
    config.model.encoder.name = "resnet10_slim"
    config.model.encoder.options = {
        "stem": "patch",
        "differences": True,
        "depths": (0, 1),
        "channels": 32,
    }  # a grid of 8 x 8
    config.model.width = 128
    config.model.dropout = 0.0
    config.model.changes = True
    config.model.temporal.name = "transformer"
    config.model.temporal.options = {"layers": 2, "heads": 4, "space": "added", "mixers": 2}
    config.model.events.queries = 10
    config.model.events.frames = 8
    config.model.decoder.options = {"layers": 2, "heads": 4}
    config.train.batch_size = 16
    config.train.steps = 1000
    config.train.ema = 0.995
    config.train.eval_every = 500
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.weight_decay = 0.02
    config.optimizer.b2 = 0.98
    config.checkpoint.every = 500
    config.checkpoint.best = "SODA_c (ROUGE-L)"
    config.decode.beams = 2
    config.eval.batch_size = 32
    if arg == "text":
        config.data.time_bins = 101
        config.data.target_len = 80
        config.decode.max_len = 76
    elif arg == "queries":
        config.data.target_len = 16
        config.decode.max_len = 13
    else:
        raise ValueError(f"moving_dense takes the argument queries or text; not {arg!r}")
    return config
