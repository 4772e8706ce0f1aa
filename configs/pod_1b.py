"""A captioner of a billion parameters for 256 chips of v5e: a ViT of 20 layers and 10 layers of a decoder, 1,536 wide.

    python launch.py --config configs/pod_1b.py --workdir runs/pod --mode=compile     # what the TPU compiler says of it
    python launch.py --config configs/pod_1b.py --workdir runs/pod --config.data.train=data/mine@train \\
        --config.data.eval=data/mine@val --config.data.vocabulary=data/mine.model
"""

import common


def get_config():
    config = common.get_config()
    config.name = "pod_1b"
    config.data.target_len = 64
    config.data.threads = 16
    config.data.prefetch = 16
    config.model.width = 1536
    config.model.dtype = "bfloat16"
    config.model.dropout = 0.0
    config.model.encoder.name = "vit_b16"
    # Heads of 128, as wide as the chip's matrix unit.
    config.model.encoder.options = {
        "width": 1536, "depth": 20, "heads": 12, "class_token": False, "remat": "light",
    }  # fmt: skip
    config.model.decoder.options = {"layers": 10, "heads": 12, "remat": "light"}
    config.mesh.fsdp = 16
    config.train.batch_size = 48 * 256
    config.train.steps = 100_000
    config.train.log_every = 50
    config.train.eval_every = 5000
    # Gradients are exchanged while the next layer's are computed.
    config.train.xla_options = {
        "xla_enable_async_all_reduce": True,
        "xla_enable_async_reduce_scatter_fusion": True,
        "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": True,
        "xla_tpu_enable_async_collective_fusion_fuse_reduce_scatter": True,
        "xla_tpu_scoped_vmem_limit_kib": 24576,
    }
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 2000
    config.optimizer.b2 = 0.95
    config.optimizer.weight_decay = 0.05
    config.checkpoint.every = 1000
    config.decode.max_len = 40
    config.eval.batch_size = 512
    config.compile.topologies = ("v5e:16x16",)
    config.compile.vocabulary = 32_000
    return config
