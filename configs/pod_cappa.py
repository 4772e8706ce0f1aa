"""The size of CapPa (Tschannen et al. 2023): ViT-B/16, 12 layers of a decoder, 248 million parameters, for a comparison
with big_vision's program: photos of 224 pixels, 64 tokens, a batch of 1,024, data parallel on v5e:4x4.

    python launch.py --config configs/pod_cappa.py --workdir runs/pod --mode=compile         # soon compiled
    python launch.py --config configs/pod_cappa.py:fast --workdir runs/pod --mode=compile    # fast when it runs

The larger the tiles, the longer the code of a kernel. With small ones the compiler is done in less than half the time,
and a step takes 39 % longer: `fast` is for training.
"""

from capjax.configs import pod_150m


def get_config(arg=""):
    if arg not in ("", "fast"):
        raise ValueError(f"pod_cappa takes fast or nothing, not {arg!r}")
    config = pod_150m.make("pod_cappa", "v5e:4x4", width=768, depth=12, layers=12, per_chip=64, fsdp=1)
    config.model.encoder.options.heads = config.model.decoder.options.heads = 12
    config.model.decoder.options.tie = False
    # Without the options of the other pods, which have more to exchange: with them a step is estimated at 150 ms in
    # place of 155, and compiling takes half as long again. 16 MB for tiles, as big_vision's was compiled: 54 s and
    # 155 ms; 6 MB: 22 s and 215 ms.
    config.train.xla_options = {} if arg == "fast" else {"xla_tpu_scoped_vmem_limit_kib": 6144}
    return config
