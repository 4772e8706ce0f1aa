"""A captioner of 150 million parameters for TPU pods: ViT-B/16 and 4 layers of a decoder, 768 wide.

    python launch.py --config configs/pod_150m.py --workdir runs/pod --mode=compile
    python launch.py --config configs/pod_150m.py:v5p:4x4x4,video --workdir runs/pod --mode=compile
    python launch.py --config configs/pod_150m.py --workdir runs/pod --config.data.train=data/mine@train \\
        --config.data.eval=data/mine@val --config.data.vocabulary=data/mine.model

The argument is a slice (default: v5e:16x16), or `video` for clips of 16 frames in place of photos, or both:
SLICE,video. The batch size grows with the number of chips and with their memory. configs/pod_1b.py and
configs/pod_3b.py are larger and take the same arguments. docs/results.md, section "Settings of the pod configs", lists
the estimated gain of each setting.
"""

import math

from capjax.compile.topology import Topology
from capjax.config import default_config

FRAMES = 16


def get_config(arg=""):
    return make("pod_150m", arg, width=768, depth=12, layers=4, per_chip=128, fsdp=1)


def make(name, arg, *, width, depth, layers, per_chip, fsdp, remat="light"):
    """A config of a size.

    Args:
      depth: of the encoder; layers: of the decoder.
      per_chip: photos a step on a chip of 16 GB; a clip counts as its frames.
      fsdp: chips among which parameters are split, as far as a slice has them.
    """
    where, _, media = arg.rpartition(",") if "," in arg or arg == "video" else (arg, "", "photo")
    if media not in ("photo", "video"):
        raise ValueError(f"{name} takes SLICE, video, or SLICE,video with a slice such as v5e:16x16; not {arg!r}")
    topology = Topology.parse(where or "v5e:16x16")
    memory = 2 ** int(math.log2(topology.chip.memory / 2**34))
    items = max(1, per_chip * memory // (FRAMES if media == "video" else 1))
    config = default_config()
    config.name = f"{name} {media}"
    config.data.target_len = 65  # 64 positions to predict: tiles of the chip are full
    config.data.threads = 16
    config.data.prefetch = 16
    config.model.width = width
    config.model.dtype = "bfloat16"
    config.model.dropout = 0.0
    config.model.encoder.name = "vit_b16"
    # Heads of 128, as wide as the chip's matrix unit.
    heads = width // 128
    config.model.encoder.options = {
        "width": width, "depth": depth, "heads": heads, "class_token": False, "remat": remat,
    }  # fmt: skip
    config.model.decoder.options = {"layers": layers, "heads": heads, "remat": remat}
    if media == "video":
        config.data.num_frames = FRAMES
        # Attention over time between frames; the decoder attends to all grid cells of all frames.
        config.model.temporal.name = "transformer"
        config.model.temporal.options = {"layers": 2, "heads": heads, "space": "added", "remat": remat}
    config.mesh.fsdp = min(fsdp, math.prod(topology.shape))
    config.train.batch_size = items * topology.count
    config.train.steps = 100_000
    config.train.log_every = 50
    config.train.eval_every = 5000
    # Overlap with computation: all-reduces of gradients, and all-gathers of kernels, which only the compiler for v5e
    # overlaps by itself. Fusing reductions into computation takes much longer to compile on v6e and gains little there.
    fuses = topology.kind != "v6e"
    config.train.xla_options = {
        "xla_enable_async_all_gather": True,
        "xla_tpu_enable_async_collective_fusion": True,
        "xla_tpu_enable_async_collective_fusion_fuse_all_gather": True,
        "xla_tpu_enable_async_collective_fusion_multiple_steps": True,
        "xla_tpu_overlap_compute_collective_tc": True,
        "xla_enable_async_all_reduce": True,
        "xla_enable_async_reduce_scatter_fusion": True,
        "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": fuses,
        "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter": fuses,
        "xla_tpu_scoped_vmem_limit_kib": 24576,
        # Gathers kernels whole, a layer ahead; by default products are computed in windows of their kernels.
        "xla_jf_spmd_threshold_for_windowed_einsum_mib": 1 << 20,
    }
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 2000
    config.optimizer.b2 = 0.95
    config.optimizer.weight_decay = 0.05
    config.checkpoint.every = 1000
    config.decode.max_len = 40
    config.eval.batch_size = 2 * topology.count
    config.compile.topologies = (str(topology),)
    config.compile.vocabulary = 32_000
    return config
