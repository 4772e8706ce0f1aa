"""Captions of clips of the generated videos, from scratch in minutes: any video encoder with any decoder.

    capjax prepare moving --count 3000 --languages en --fps 5 --clips events --output data/events
    capjax prepare vocabulary --input data/events --output data/events.model --size 450
    python launch.py --config configs/moving.py:i3d,lstm --workdir runs/moving

The argument is ENCODER,DECODER: i3d, convlstm, video_vit or frames (each frame alone, then attention over time), and
transformer, lstm or gru. `--config.data.shuffle_frames=true` removes the order of the frames.
"""

from capjax.config import default_config

# Encodes each frame to a grid of 8 x 8.
FRAME = {"stem": "patch", "depths": (0, 1), "channels": 32}
ENCODERS = {
    "i3d": ("i3d_slim", {}),
    "convlstm": ("convlstm", {"frame_encoder": "resnet10_slim", "frame_options": FRAME, "channels": 64}),
    "video_vit": ("video_vit_tiny", {"depth": 3}),
    "frames": ("resnet10_slim", FRAME),
}
DECODERS = {"transformer": {"layers": 2, "heads": 4}, "lstm": {}, "gru": {}}


def get_config(arg="frames,transformer"):
    encoder, _, decoder = arg.partition(",")
    if encoder not in ENCODERS or decoder not in DECODERS:
        raise ValueError(
            f"moving takes ENCODER,DECODER of {', '.join(ENCODERS)} and {', '.join(DECODERS)}; not {arg!r}"
        )
    config = default_config()
    config.name = f"moving {arg}"
    config.data.train = ("data/events@train",)
    config.data.eval = "data/events@val"
    config.data.vocabulary = "data/events.model"
    config.data.num_frames = 12
    config.data.image_size = 64
    config.data.crop_scale = (1.0, 1.0)  # no crop, which would make "to the left edge" untrue
    config.data.captions_per_item = 3
    config.data.target_len = 28
    config.model.encoder.name, config.model.encoder.options = ENCODERS[encoder]
    config.model.width = 128
    config.model.dropout = 0.0
    config.model.frame_difference = True
    # One position for each frame: the attention of a recurrent decoder costs time for every position.
    config.model.temporal.name = "transformer"
    config.model.temporal.options = {"layers": 2 if encoder == "frames" else 1, "heads": 4, "mixers": 1}
    config.model.decoder.name, config.model.decoder.options = decoder, DECODERS[decoder]
    config.train.batch_size = 32
    config.train.steps = 500
    config.train.ema = 0.99
    config.train.eval_every = 0
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 3e-3
    config.optimizer.b2 = 0.98
    config.optimizer.warmup_steps = 50
    config.optimizer.weight_decay = 0.02
    config.checkpoint.every = 500
    config.decode.max_len = 25
    config.eval.batch_size = 32
    return config
