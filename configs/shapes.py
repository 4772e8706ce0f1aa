"""The generated pictures, from scratch in minutes on a laptop: a small ResNet and a small transformer.

    python launch.py --config configs/shapes.py --workdir runs/shapes --config.data.train=data/shapes@train ...

`capjax demo` runs all steps.
"""

from capjax.config import default_config


def get_config():
    config = default_config()
    config.name = "shapes"
    config.data.image_size = 64
    config.data.crop_scale = (1.0, 1.0)  # no crop, which would make "on the left" untrue
    config.data.captions_per_item = 2
    config.data.target_len = 24
    config.model.encoder.name = "resnet10_slim"
    config.model.encoder.options = {"depths": (0, 1), "channels": 32}  # a grid of 16 x 16
    config.model.width = 128
    config.model.dropout = 0.0
    config.model.decoder.name = "transformer"
    config.model.decoder.options = {"layers": 2, "heads": 4}
    config.train.batch_size = 32
    config.train.steps = 900
    config.optimizer.learning_rate = 4e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.weight_decay = 0.02
    config.train.ema = 0.99
    config.train.eval_every = 450
    config.checkpoint.every = 450
    config.decode.max_len = 22
    return config
