"""MSVD, on features of a frozen EfficientNet-Lite0 for up to 16 frames of a clip; trains in minutes on two CPU cores.

    capjax prepare msvd --input DOWNLOAD --output data/msvd
    capjax prepare vocabulary --input data/msvd --output data/msvd.model --size 4000 --lowercase --languages en
    capjax prepare features --input data/msvd --output data/msvd_lite0 --encoder efficientnet_lite0
    python launch.py --config configs/msvd.py --workdir runs/msvd

With the argument `few` (configs/msvd.py:few) it overfits a handful of clips, as a trial of the whole pipeline.
"""

from capjax.config import default_config


def get_config(arg="all"):
    config = default_config()
    config.name = "msvd"
    config.data.train = ("data/msvd_lite0@train",)
    config.data.eval = "data/msvd_lite0@val"
    config.data.vocabulary = "data/msvd.model"
    config.data.features = True
    config.data.num_frames = 16
    config.data.captions_per_item = 8  # captions of a clip share one pass over its frames
    config.data.target_len = 26
    config.model.width = 256
    config.model.encoder.name = "efficientnet_lite0"
    config.model.encoder.frozen = True
    config.model.temporal.name = "transformer"
    config.model.temporal.options = {"layers": 1, "heads": 8, "mlp_ratio": 2.0, "dropout": 0.1}
    config.model.decoder.options = {"layers": 2, "heads": 8, "mlp_ratio": 2.0, "dropout": 0.2}
    config.train.batch_size = 16
    config.train.steps = 2000
    config.train.label_smoothing = 0.1
    config.train.ema = 0.995
    config.train.eval_every = 250
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.b2 = 0.98
    config.optimizer.weight_decay = 0.02
    config.decode.max_len = 24
    config.decode.no_repeat_ngram = 3
    config.eval.batch_size = 32
    if arg == "few":
        config.data.eval = "data/msvd_lite0@train"
        config.train.batch_size = 5
        config.train.steps = 300
        config.train.ema = 0.0
        config.train.eval_every = 0
        config.optimizer.warmup_steps = 20
        config.eval.batch_size = 5
    elif arg != "all":
        raise ValueError(f"msvd takes no argument, or `few`; not {arg!r}")
    return config
