"""Flickr8k, on features of a frozen EfficientNet-Lite0; trains in minutes on two CPU cores.

    capjax prepare flickr8k --input DOWNLOAD --output data/flickr8k
    capjax prepare vocabulary --input data/flickr8k --output data/flickr8k.model --size 1500 --lowercase
    capjax prepare features --input data/flickr8k --output data/flickr8k_lite0 \\
        --encoder efficientnet_lite0 --views 12 --flips
    python launch.py --config configs/flickr8k.py --workdir runs/flickr8k

With the argument `five` (configs/flickr8k.py:five) one model writes English, German, French, Chinese and Arabic; give
`data_prep flickr8k` their files with --translations, and the vocabulary --size 4000.
"""

from capjax.config import default_config


def get_config(arg="en"):
    config = default_config()
    config.name = "flickr8k"
    config.data.train = ("data/flickr8k_lite0@train",)
    config.data.eval = "data/flickr8k_lite0@val"
    config.data.vocabulary = "data/flickr8k.model"
    config.data.features = True
    config.data.target_len = 26
    config.model.width = 256
    config.model.dropout = 0.1
    config.model.feature_dropout = 0.5
    config.model.encoder.name = "efficientnet_lite0"
    config.model.encoder.frozen = True
    config.model.decoder.name = "transformer"
    config.model.decoder.options = {"layers": 2, "heads": 8, "mlp_ratio": 2.0, "dropout": 0.2}
    config.data.captions_per_item = 5  # all English captions of a photo share one pass over its features
    config.train.batch_size = 16
    config.train.steps = 640
    config.train.label_smoothing = 0.1
    config.train.ema = 0.995
    config.train.eval_every = 160
    config.optimizer.learning_rate = 2.5e-3
    config.optimizer.warmup_steps = 50
    config.optimizer.end_factor = 0.05
    config.optimizer.b2 = 0.98
    config.optimizer.weight_decay = 0.02
    config.checkpoint.every = 320
    config.decode.num_beams = 32
    config.decode.num_neighbors = 20
    config.decode.consensus_weight = 200.0
    config.decode.max_len = 24
    config.decode.length_penalty = 1.0
    config.decode.no_repeat_ngram = 3
    config.eval.batch_size = 113
    if arg == "five":
        config.data.languages = ("en", "de", "fr", "zh", "ar")
        config.data.language_weights = {"en": 2.0}
        config.train.steps = 1920
        config.train.eval_every = 480
        config.data.target_len = 34
        config.decode.max_len = 31
    elif arg != "en":
        raise ValueError(f"flickr8k takes no argument, or `five`; not {arg!r}")
    return config
