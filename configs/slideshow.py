"""Slideshows: videos of photos, each with its own caption, on features of a frozen EfficientNet-Lite0.

capjax prepare slideshow --input data/flickr8k --output data/slides --shown 6 --fps 1
capjax prepare vocabulary --input data/flickr8k --output data/flickr8k.model --size 1500 --lowercase
capjax prepare features --input data/slides --output data/slides_lite0 --encoder efficientnet_lite0
python launch.py --config configs/slideshow.py --workdir runs/slides
"""

from capjax.configs import flickr8k


def get_config():
    config = flickr8k.get_config()
    config.name = "slideshow"
    config.data.train = ("data/slides_lite0@train",)
    config.data.eval = "data/slides_lite0@val"
    config.data.task = "dense"
    config.data.max_events = 8
    config.data.num_frames = 48
    config.data.buckets = (16, 24, 32, 48)
    config.data.captions_per_item = 1
    config.model.frame_similarity = 3
    config.model.temporal.name = "transformer"
    config.model.temporal.options = {"layers": 2, "heads": 4, "space": "added", "mixers": 1}
    config.model.events.queries = 12
    config.model.events.frames = 2
    config.model.events.margin = -1.0  # keeps the captions clear of the cuts: beyond a cut is another photo
    config.decode.no_repeat_ngram = 0
    for name, weight in config.train.events.items():
        config.train.events[name] = 0.3 * weight  # captions take longer to learn than cuts
    config.optimizer.name = "muon"
    config.train.steps = 480
    config.train.eval_every = 0
    config.checkpoint.best = "SODA_c (ROUGE-L)"
    config.eval.batch_size = 16
    return config
