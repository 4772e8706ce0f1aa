"""The built-in videos, captions of the whole clip: any encoder over time with any decoder, from scratch, in minutes.

    python -m data_prep moving --count 6000 --languages en --fps 5 --output data/moving
    python -m data_prep vocabulary --input data/moving --output data/moving.model --size 600
    python launch.py --config configs/moving.py:i3d,lstm --workdir runs/moving

The argument is ENCODER,DECODER: i3d, convlstm, video_vit or frames (each frame alone, then attention over time), and
transformer, lstm or gru. `--config.data.shuffle_frames=true` takes the order of the frames away.
"""

import common

# A frame at a time to a grid of 4 x 4: attention of a recurrent decoder takes its time with every position.
FRAME = {"depths": (0, 1, 1, 1), "channels": 16}
ENCODERS = {
    "i3d": ("i3d_slim", {}),
    "convlstm": ("convlstm", {"frame_encoder": "resnet10_slim", "frame_options": FRAME, "channels": 64}),
    "video_vit": ("video_vit_tiny", {"depth": 3, "patch": 16}),
    "frames": ("resnet10_slim", FRAME),
}
DECODERS = {"transformer": {"layers": 2, "heads": 4}, "lstm": {}, "gru": {}}


def get_config(arg="video_vit,transformer"):
    encoder, _, decoder = arg.partition(",")
    if encoder not in ENCODERS or decoder not in DECODERS:
        raise ValueError(
            f"moving takes ENCODER,DECODER of {', '.join(ENCODERS)} and {', '.join(DECODERS)}; not {arg!r}"
        )
    config = common.get_config()
    config.name = f"moving {arg}"
    config.data.train = ("data/moving@train",)
    config.data.eval = "data/moving@val"
    config.data.vocabulary = "data/moving.model"
    config.data.frames = 16
    config.data.image_size = 64
    config.data.crop_scale = (1.0, 1.0)  # a crop would make "to the left edge" untrue
    config.data.captions = 3  # of a clip at a time
    config.data.target_len = 28
    config.model.encoder.name, config.model.encoder.options = ENCODERS[encoder]
    config.model.width = 128
    config.model.dropout = 0.0
    if encoder == "frames":
        config.model.temporal.name = "transformer"
        config.model.temporal.options = {"layers": 2, "heads": 4, "space": "same"}
    config.model.decoder.name, config.model.decoder.options = decoder, DECODERS[decoder]
    config.train.batch_size = 16
    config.train.steps = 600
    config.train.ema = 0.99
    config.train.eval_every = 0
    config.optimizer.learning_rate = 3e-3
    config.optimizer.b2 = 0.98
    config.optimizer.warmup_steps = 100
    config.optimizer.weight_decay = 0.02
    config.checkpoint.every = 300
    config.decode.max_len = 25
    config.eval.batch_size = 16
    return config
