"""Every setting of a job: its default, its meaning and its check.

`docs/reference/generate.py` makes the config reference from this file. Conditions that involve several settings are in
`capjax.config.validation`.
"""

from typing import Any

from ml_collections import ConfigDict

from capjax.config.settings import (
    Group,
    Setting,
    area_range,
    choice,
    fraction,
    multipliers,
    non_empty,
    non_negative,
    patterns,
    positive,
    positive_share,
    ratio_range,
    registered,
    share,
    word_groups,
)  # fmt: skip

# Options of the TPU compiler. A limit of 12 MB of vector memory for the tiles of a kernel, in place of 16, shortens
# compilation, because the code of a kernel grows with its tiles, and costs little speed (docs/results.md).
_XLA_OPTIONS = {"xla_tpu_scoped_vmem_limit_kib": 12288}

_DATA = Group(
    "Datasets, and how batches are made from them.",
    train=Setting((), 'Training datasets, mixed: ("DIR@SPLIT", "DIR@SPLIT*WEIGHT", ...); DIR may be gs://BUCKET/FOLDER.'),
    eval=Setting("", 'Dataset that evaluation scores: "DIR@SPLIT".'),
    vocabulary=Setting("", "Path of the SentencePiece model."),
    task=Setting(
        "caption",
        "Task: `caption`, `summary` (of all events of a video) or `dense` (every event with start, end and caption).",
        choice("caption", "summary", "dense"),
    ),
    max_events=Setting(10, "Maximum number of events of a record; for task `dense`.", positive),
    time_bins=Setting(
        0,
        "Number of time tokens by which a dense model writes start and end of events into the text, as in Vid2Seq; the "
        "vocabulary must have been made with --time-tokens. 0: event queries find the events, as in PDVC; see "
        "`model.events`.",
        non_negative,
    ),
    languages=Setting(("en",), "Languages (BCP-47) of the captions that are learned and generated.", non_empty),
    language_weights=Setting(
        {}, 'Relative frequency at which a language is drawn, such as {"en": 2.0}. Languages not listed have 1.'
    ),
    captions_per_item=Setting(
        1, "Captions of a record in one batch. They share one pass of the encoder; a batch then has more targets.",
        positive,
    ),
    num_frames=Setting(1, "Maximum number of frames of a video; more are subsampled evenly. 1: photos.", positive),
    shuffle_frames=Setting(
        False, "Permute the frames of a video but keep the times in order: an ablation that shows the use of time."
    ),
    image_size=Setting(224, "Height and width in pixels of the encoder's input.", positive),
    features=Setting(False, "Read features extracted by `capjax prepare features` in place of pixels."),
    crop_scale=Setting(
        (0.5, 1.0), "Range of a training crop's area, relative to the image. (1, 1): no crop.", area_range
    ),
    crop_aspect=Setting((0.75, 1.333), "Range of a training crop's aspect ratio, width / height.", ratio_range),
    flip=Setting(False, "Flip training images horizontally. Off by default, since captions mention left and right."),
    target_len=Setting(40, "Maximum number of tokens of a target, with prefix and end.", positive),
    buckets=Setting(
        (), "Frame counts that batches are padded to, such as (8, 16, 32); the last equals `data.num_frames`. Empty: "
        "all batches are padded to `data.num_frames`.",
    ),
    curriculum=Setting(
        (), 'Stages of training: ((0, {"num_frames": 8, "hard": 0.2}), (STEP, {}), ...). A stage may change '
        "num_frames, image_size, target_len and hard; see `capjax/data/curriculum.py`.",
    ),
    threads=Setting(2, "Threads that decode and transform records.", positive),
    prefetch=Setting(4, "Batches prepared ahead.", positive),
)  # fmt: skip

_MODEL = Group(
    "Encoder, connector and decoder.",
    width=Setting(256, "Width of the memory and of the decoder.", positive),
    dtype=Setting(
        "float32", "Type of the computation: `float32` or `bfloat16`. Parameters are always float32.",
        choice("float32", "bfloat16"),
    ),
    dropout=Setting(0.1, "Dropout rate of the connector's output.", fraction),
    feature_dropout=Setting(0.0, "Dropout rate of the encoder's output, before its projection to the width.", fraction),
    encoder=Group(
        "Images or videos to features.",
        name=Setting("resnet18", "Name of the encoder in `capjax.models.encoders`."),
        weights=Setting("", "Pretrained weights: pip:PACKAGE, or a .pth or .safetensors file. Empty: random."),
        frozen=Setting(False, "Do not train the encoder."),
        options=Setting({}, "Keyword arguments of the encoder."),
    ),
    encoders=Setting(
        {},
        'Further encoders by name, such as {"audio": {"name": NAME, "input": KEY}}: name of the encoder and the batch '
        "entry that it reads, and optionally weights, frozen and options as above.",
    ),
    connector=Group(
        "Features of an encoder to the memory of the decoder.",
        name=Setting("linear", "Name of the connector in `capjax.models.connector.CONNECTORS`."),
        options=Setting({}, "Keyword arguments of the connector."),
    ),
    frame_difference=Setting(False, "Add the differences to the frames before and after to each frame's features."),
    frame_similarity=Setting(
        0,
        "Number of frames before and after each frame whose similarity to it becomes an input. Shows cuts. 0: none.",
        non_negative,
    ),
    temporal=Group(
        "Attention over time, on top of any encoder.",
        name=Setting("", "`transformer`; empty: none."),
        options=Setting({}, "Keyword arguments of the temporal module."),
    ),
    events=Group(
        "Event queries, which find the events where `data.task` is `dense` and `data.time_bins` is 0.",
        queries=Setting(20, "Number of queries: the most events that are found at a time.", positive),
        frames=Setting(16, "Maximum number of an event's frames that its caption is generated from.", positive),
        margin=Setting(
            0.5, "Seconds before and after an event that its caption attends to. Negative: the event is cut by as much."
        ),
        layers=Setting(2, "Layers of the query decoder.", positive),
        heads=Setting(4, "Attention heads of the query decoder.", positive),
    ),
    decoder=Group(
        "Memory to text.",
        name=Setting("transformer", "Name of the decoder in `capjax.models.decoders`: transformer, lstm or gru."),
        options=Setting({}, "Keyword arguments of the decoder."),
    ),
)  # fmt: skip

_OPTIMIZER = Group(
    "Optimizer and learning rate.",
    name=Setting(
        "adamw", "Optimizer: adam, adamw, adafactor, lion, muon, or one of a plug-in.",
        registered("optimizer", "adam", "adamw", "adafactor", "lion", "muon"),
    ),
    learning_rate=Setting(1e-3, "Peak learning rate.", non_negative),
    schedule=Setting(
        "cosine", "Learning rate after the warmup: cosine, linear, rsqrt or constant.",
        choice("cosine", "linear", "rsqrt", "constant"),
    ),
    warmup_steps=Setting(0, "Steps of linear warmup.", non_negative),
    end_factor=Setting(0.0, "Learning rate at the last step of cosine and linear, relative to the peak.", non_negative),
    b1=Setting(0.9, "Decay rate of the first moment.", fraction),
    b2=Setting(0.999, "Decay rate of the second moment.", fraction),
    weight_decay=Setting(0.0, "Weight decay.", non_negative),
    no_decay=Setting(
        ("bias$", "scale$", "position", "table$"),
        "Regular expressions: parameters whose names match have no weight decay.",
        patterns,
    ),
    clip_norm=Setting(1.0, "Maximum norm of the whole gradient. 0: no clipping.", non_negative),
    lr_multipliers=Setting(
        (),
        'Factors on the learning rate by regular expression, such as (("^encoders/vision/", 0.1),). The first match '
        "counts.",
        multipliers,
    ),
    freeze=Setting(
        (), "Regular expressions: parameters whose names match are not trained. A batch norm that is frozen entirely "
        "normalizes by its running statistics and does not update them.", patterns,
    ),
)  # fmt: skip

_TRAIN = Group(
    "Training.",
    steps=Setting(1000, "Number of steps.", positive),
    batch_size=Setting(32, "Records in a batch, over all devices and processes.", positive),
    gradient_accumulation_steps=Setting(
        1,
        "Micro-batches of a step. The result is that of the whole batch, except that dropout and trainable batch norm "
        "work on each micro-batch.",
        positive,
    ),
    ema=Setting(
        0.0, "Decay rate of the exponential moving average of the weights, which evaluation then uses. 0: none.",
        fraction,
    ),
    label_smoothing=Setting(0.0, "Label smoothing.", fraction),
    doubly_stochastic=Setting(0.0, "Weight of the attention penalty of Xu et al. (2015).", non_negative),
    events=Group(
        "Weights of the loss terms of event queries, relative to the captions' loss.",
        distance=Setting(5.0, "L1 distance of start and end, relative to the duration.", non_negative),
        overlap=Setting(2.0, "Generalized temporal IoU.", non_negative),
        pointer=Setting(1.0, "Cross-entropy against the frames next to start and end.", non_negative),
        confidence=Setting(2.0, "Binary cross-entropy of whether a query is an event.", non_negative),
        count=Setting(0.5, "Cross-entropy of the number of events.", non_negative),
        frames=Setting(
            2.0, "Binary cross-entropy, for each frame, of whether it lies in an event, is a start, or is an end.",
            non_negative,
        ),
    ),
    loss_terms=Setting(
        {}, 'Weights of further loss terms, which a plug-in registers in `capjax.train.losses.LOSS_TERMS`, such as '
        '{"coverage": 0.1}.',
    ),
    xla_options=Setting(_XLA_OPTIONS, "Compiler options of the training step, on TPU."),
    log_every=Setting(20, "Steps between two lines of the log.", positive),
    eval_every=Setting(500, "Steps between two evaluations. 0: evaluate at the end only.", non_negative),
    tensorboard=Setting(True, "Write TensorBoard files, where the extra `tensorboard` is installed."),
    trackers=Setting((), "Experiment trackers: wandb, mlflow. Each needs the extra of its name."),
    profile=Setting((), "Steps (FIRST, LAST) of which a profiler trace is written into `profile/` of the workdir."),
)  # fmt: skip

_MITIGATION = Group(
    "Mitigation of bias: associations of an attribute, such as gender, with a context; see docs/guides/mitigation.md.",
    attribute=Setting(
        (), 'Groups of words for an attribute: (("man", "men", "boy"), ("woman", "women", "girl")). Whole words of any '
        "language and in any case; list each form.", word_groups,
    ),
    context=Setting(
        (), 'Groups of words for contexts, such as (("kitchen",), ("skateboard", "skateboards")). Empty: attributes '
        "are balanced by themselves.", word_groups,
    ),
    balance=Setting(
        "", "How training items are weighted so that the attribute does not depend on the context: `sampling` draws "
        "them more or less often, `weights` weights their loss. Empty: not at all.", choice("", "sampling", "weights"),
    ),
    counterfactual=Setting(
        0.0,
        "Share of the English captions, of items whose captions do not all name the same attribute, in which the words "
        "of one group are exchanged for those of another at the same position of the group.",
        share,
    ),
    neutral=Setting(
        (), 'Words that are written in place of those of any group, such as ("person", "people", "child"); an empty '
        "word where there is none. Empty: words of another group.",
    ),
    max_weight=Setting(10.0, "Largest weight of an item, so that a few items of a rare combination do not dominate.",
                       positive),
)  # fmt: skip

_CHECKPOINT = Group(
    "Checkpoints.",
    every=Setting(200, "Steps between two checkpoints.", positive),
    keep=Setting(2, "Number of checkpoints that are kept, besides the best.", positive),
    best=Setting("CIDEr", "Score that selects the best checkpoint; one of those that `eval.metrics` computes."),
)

_DECODE = Group(
    "Generation of captions.",
    method=Setting("beam", "Search: greedy, beam or sample.", choice("greedy", "beam", "sample")),
    num_beams=Setting(4, "Hypotheses kept by beam search.", positive),
    max_len=Setting(30, "Maximum number of generated tokens.", positive),
    min_len=Setting(0, "Minimum number of generated tokens.", non_negative),
    length_penalty=Setting(
        0.6, "Exponent alpha of the length normalization ((5 + length) / 6) ** alpha of Wu et al. (2016). 0: none."
    ),
    no_repeat_ngram=Setting(0, "No n-gram of this length is generated twice. 0: no constraint.", non_negative),
    num_neighbors=Setting(
        0,
        "Rerank hypotheses by their agreement with the captions of this many nearest training images; needs "
        "`data.features`. 0: none.",
        non_negative,
    ),
    consensus_weight=Setting(
        60.0, "Weight of that agreement, which is between 0 and 1, relative to the hypothesis's score.", non_negative
    ),
    attribute_shares=Setting(
        "",
        "Constraint on all captions of an evaluation: of those that name a context (`mitigation.context`) and one "
        "attribute (`mitigation.attribute`), each attribute has a share as in the `training` data, or an `equal` one. "
        "Empty: none.",
        choice("", "training", "equal"),
    ),
    share_margin=Setting(0.01, "Largest deviation from these shares.", fraction),
    temperature=Setting(1.0, "Temperature of sampling. 0: the most probable token.", non_negative),
    top_k=Setting(0, "Sample from this many most probable tokens. 0: from all.", non_negative),
    top_p=Setting(1.0, "Sample from the most probable tokens whose probabilities reach this sum.", positive_share),
)  # fmt: skip

_EVAL = Group(
    "Evaluation.",
    batch_size=Setting(32, "Records in a batch, over all devices and processes.", positive),
    limit=Setting(0, "Number of records that are evaluated. 0: all.", non_negative),
    metrics=Setting(
        ("bleu", "rouge", "cider"),
        "Metrics: bleu, rouge, cider, meteor, chrf, sacrebleu, spice; also by their names in tables, such as BLEU-4.",
        non_empty,
    ),
    output_format=Setting(
        "coco",
        "Format of predictions.json: coco, msrvtt or plain ({id: caption}). Events are always in ActivityNet's format.",
        choice("coco", "msrvtt", "plain"),
    ),
    samples=Setting(16, "Number of captions shown in samples.md.", non_negative),
    xla_options=Setting(_XLA_OPTIONS, "Compiler options of generation, on TPU."),
)

_MESH = Group(
    "The device mesh, and how arrays are sharded over it.",
    replica=Setting(1, "Copies of the model; 1: one for each slice (of GPUs: each host, or domain of NVLink)."),
    data=Setting(-1, "Devices over which a batch is split. -1: all that remain."),
    fsdp=Setting(1, "Devices over which batch and parameters are split."),
    tensor=Setting(1, "Devices over which the computation of a layer is split."),
    # Heads over fsdp, where their number divides, make the TPU compiler fail.
    logical_axis_rules=Setting(
        (
            ("batch", ("replica", "data", "fsdp")),
            ("embed", ("fsdp",)),
            ("mlp", ("tensor", "fsdp")),
            ("heads", ("tensor",)),
            ("vocab", ("tensor",)),
            ("conv_out", ("fsdp",)),
        ),
        "Mesh axes of each logical axis. Logical axes that are not listed are replicated.",
    ),
)

_COMPILE = Group(
    "Compilation for a TPU slice ahead of time, by --mode=compile. Its time estimates are experimental.",
    topologies=Setting(("v5e:1x1",), "TPU slices, KIND:SIDES, such as v5e:16x16, or 4xv5e:16x16 for four slices."),
    vocabulary=Setting(8000, "Size of the vocabulary, where `data.vocabulary` does not exist.", positive),
)

ROOT = Group(
    "A job.",
    name=Setting("", "Name of the job, for people."),
    plugins=Setting(
        (),
        "Modules that register encoders, decoders, connectors, metrics, loss terms or optimizers of your own: "
        '("my_module",). They are found on sys.path, in the current directory and beside the config file.',
    ),
    seed=Setting(0, "Seed of initialization, of the order of records, of dropout and of sampling.", non_negative),
    init=Setting(
        "",
        "Run to take initial weights from: WORKDIR (its best checkpoint), WORKDIR@best or WORKDIR@STEP. Empty: "
        "`model.encoder.weights`, and random values.",
    ),
    init_patterns=Setting((), "Regular expressions: parameters to take from `init`. Empty: all that fit.", patterns),
    data=_DATA,
    model=_MODEL,
    optimizer=_OPTIMIZER,
    train=_TRAIN,
    mitigation=_MITIGATION,
    checkpoint=_CHECKPOINT,
    decode=_DECODE,
    eval=_EVAL,
    mesh=_MESH,
    compile=_COMPILE,
)

# Dotted key -> setting.
SETTINGS: dict[str, Setting] = dict(ROOT.flatten())


def default_config() -> ConfigDict:
    """Returns a new config with the default of every setting.

    An unknown key is an error, except in mappings such as `model.encoder.options`.
    """
    return ROOT.make()


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Returns the value of every setting by dotted key."""
    return {key: config[key] for key in SETTINGS}
