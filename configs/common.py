"""Every setting and its default.

A job's file starts from `get_config()` here and changes what differs; a key that is not here is an error. A comment
gives the meaning, the unit and the choices.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = ""  # of the job, for people
    config.seed = 0

    config.data = ConfigDict()
    config.data.train = ()  # mixtures of datasets: ("DIR@SPLIT", "DIR@SPLIT*WEIGHT", ...)
    config.data.eval = ""  # "DIR@SPLIT": what evaluation scores
    config.data.vocabulary = ""  # path of the SentencePiece model
    config.data.task = "caption"  # caption, summary, or dense: events with their times
    config.data.max_events = 10  # of a record at a time, at most; for dense
    config.data.time_bins = (
        0  # dense: moments of a video with pieces of their own, written into the text (Vid2Seq), for
    )
    # which the vocabulary is made with --time-tokens; 0: events are found by queries (PDVC), see model.events
    config.data.languages = ("en",)  # which captions are learned and written
    config.data.language_weights = ConfigDict()  # how often a language is drawn, such as {"en": 2.0}; others 1
    config.data.captions_per_item = (
        1  # of a record at a time; more share one pass of the encoder, and a batch has more targets
    )
    config.data.num_frames = 1  # of a video, at most; of more these are taken at even distances
    config.data.shuffle_frames = False  # in another order, at the times of the right one: does a model use time?
    config.data.image_size = 224  # pixels a side of what the encoder sees
    config.data.features = False  # read features (data_prep features) instead of pictures
    config.data.crop_scale = (0.5, 1.0)  # share of the picture's area that a training crop keeps; (1, 1): no crop
    config.data.crop_aspect = (0.75, 1.333)  # width / height of a training crop
    config.data.flip = False  # mirror pictures in training; captions say left and right, so off
    config.data.target_len = 40  # pieces a caption, with its prefix and end
    config.data.buckets = ()  # frame counts that batches are padded to, as (8, 16, 32); the last is data.num_frames
    config.data.curriculum = ()  # ((0, {"num_frames": 8, "hard": 0.2}), (STEP, {}), ...): see capjax/data/curriculum.py
    config.data.threads = 2
    config.data.prefetch = 4  # batches

    config.model = ConfigDict()
    config.model.width = 256
    config.model.dtype = "float32"  # of the computation: float32 or bfloat16; parameters are always float32
    config.model.dropout = 0.1
    config.model.feature_dropout = 0.0  # on the encoder's output, before it is projected to the width
    config.model.encoder = ConfigDict()
    config.model.encoder.name = "resnet18"
    config.model.encoder.weights = ""  # pip:NAME, or a .pth or .safetensors file; empty: random
    config.model.encoder.frozen = False
    config.model.encoder.options = ConfigDict()  # keyword arguments of the encoder
    config.model.frame_difference = False  # tell what differs from frame to frame, beside what is in each
    config.model.frame_similarity = (
        0  # frames before and after each, whose likeness to it is told: cuts are known by it
    )
    config.model.temporal = ConfigDict()  # attention over time, above any encoder
    config.model.temporal.name = ""  # transformer; empty: none
    config.model.temporal.options = ConfigDict()
    config.model.events = ConfigDict()  # finds events where data.task is dense and data.time_bins is 0
    config.model.events.queries = 20
    config.model.events.frames = 16  # of an event that its caption is written from, at most
    config.model.events.margin = 0.5  # seconds that it sees beyond the event; below 0: less than the event
    config.model.events.layers = 2
    config.model.events.heads = 4
    config.model.decoder = ConfigDict()
    config.model.decoder.name = "transformer"  # transformer, lstm or gru
    config.model.decoder.options = ConfigDict()  # keyword arguments of the decoder

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"  # adam, adamw, adafactor, lion or muon
    config.optimizer.learning_rate = 1e-3  # at its peak
    config.optimizer.schedule = "cosine"  # cosine, linear, rsqrt or constant
    config.optimizer.warmup_steps = 0
    config.optimizer.end_factor = 0.0  # of the peak, at the last step of cosine and linear
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.weight_decay = 0.0
    config.optimizer.no_decay = ("bias$", "scale$", "position", "table$")  # regular expressions over parameter names
    config.optimizer.clip_norm = 1.0  # of the whole gradient; 0: none
    config.optimizer.lr_multipliers = ()  # (("^encoder/", 0.1), ...): factors on the learning rate, first match counts
    config.optimizer.freeze = ()  # regular expressions: parameters that learn nothing. A batch norm
    # that is wholly frozen keeps its running statistics, and normalizes by them

    config.train = ConfigDict()
    config.train.steps = 1000
    config.train.batch_size = 32  # over all devices and processes
    config.train.gradient_accumulation_steps = (
        1  # micro-batches a step, with the result of the one large batch; but dropout draws, and
    )
    # batch norm that is not frozen averages, a micro-batch at a time
    config.train.ema = 0.0  # decay of the averaged weights, which evaluation then uses; 0: none
    config.train.label_smoothing = 0.0
    config.train.doubly_stochastic = 0.0  # weight of Xu et al.'s attention penalty
    config.train.events = ConfigDict()  # weights of what event queries learn, beside the captions' 1
    config.train.events.distance = 5.0  # of start and end, as shares of the duration
    config.train.events.overlap = 2.0  # generalized tIoU
    config.train.events.pointer = 1.0  # at the frames next to start and end
    config.train.events.confidence = 2.0
    config.train.events.count = 0.5
    config.train.events.frames = 2.0  # in each frame: whether it lies in an event, and is a start or an end
    # Of the TPU's compiler for the step. 12 MB for a kernel's tiles in place of 16: what compiling takes grows with
    # their code. On two cores the step of photos.py is compiled in 104 s in place of 132, and estimated at 23.2 ms in
    # place of 22.4; that of videos.py in 90 s in place of 118, at 73.6 ms in place of 68.1. With 8 MB 80 and 68 s, but
    # 24.5 and 86.8 ms.
    config.train.xla_options = ConfigDict({"xla_tpu_scoped_vmem_limit_kib": 12288})
    config.train.log_every = 20  # steps
    config.train.eval_every = 500  # steps; 0: at the end only
    config.train.tensorboard = True  # where the extra `tensorboard` is installed

    config.checkpoint = ConfigDict()
    config.checkpoint.every = 200  # steps
    config.checkpoint.keep = 2
    config.checkpoint.best = "CIDEr"  # the score that names the best checkpoint

    config.decode = ConfigDict()
    config.decode.method = "beam"  # greedy, beam or sample
    config.decode.num_beams = 4
    config.decode.max_len = 30  # pieces written
    config.decode.min_len = 0
    config.decode.length_penalty = 0.6
    config.decode.no_repeat_ngram = 0
    config.decode.num_neighbors = (
        0  # rerank by what people wrote of so many nearest training pictures; needs data.features
    )
    config.decode.consensus_weight = 60.0  # weight of that agreement, from 0 to 1, beside the hypothesis' score
    config.decode.temperature = 1.0
    config.decode.top_k = 0
    config.decode.top_p = 1.0

    config.eval = ConfigDict()
    config.eval.batch_size = 32
    config.eval.limit = 0  # records; 0: all
    config.eval.metrics = ("bleu", "rouge", "cider")  # also meteor, chrf, sacrebleu, spice: see README, Scores
    config.eval.output_format = (
        "coco"  # of predictions.json: coco, msrvtt or plain ({id: caption}); events are in ActivityNet's
    )
    config.eval.samples = 16  # captions shown in samples.md
    config.eval.xla_options = ConfigDict(config.train.xla_options)  # for decoding

    config.mesh = ConfigDict()
    config.mesh.replica = 1  # copies of the model; 1: one a slice (of GPUs: a host, or what shares NVLink)
    config.mesh.data = -1  # -1: what is left
    config.mesh.fsdp = 1
    config.mesh.tensor = 1
    # Logical axis -> mesh axes. What is not named here is replicated. Heads over fsdp, where their number divides, make
    # the TPU compiler fail.
    config.mesh.logical_axis_rules = (
        ("batch", ("replica", "data", "fsdp")),
        ("embed", ("fsdp",)),
        ("mlp", ("tensor", "fsdp")),
        ("heads", ("tensor",)),
        ("vocab", ("tensor",)),
        ("conv_out", ("fsdp",)),
    )

    config.compile = ConfigDict()  # for --mode=compile
    config.compile.topologies = ("v5e:1x1",)  # TPU slices: KIND:SIDES, or 4xv5e:16x16 for four slices
    config.compile.vocabulary = 8000  # pieces, where data.vocabulary is not there
    # From here on an unknown key is an error, but for those that are nobody's to list.
    config.lock()
    for part in (config.model.encoder, config.model.temporal, config.model.decoder):
        part.options.unlock()
    config.data.language_weights.unlock()
    config.train.xla_options.unlock()
    config.eval.xla_options.unlock()
    return config
