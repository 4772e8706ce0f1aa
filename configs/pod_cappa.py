"""The size of CapPa (Tschannen et al. 2023): ViT-B/16, 12 layers of a decoder, 248 million parameters, for a comparison
with big_vision's program: photos of 224 pixels, 64 tokens, a batch of 1,024, data parallel on v5e:4x4.

    python launch.py --config configs/pod_cappa.py --workdir runs/pod --mode=compile
    python launch.py --config configs/pod_cappa.py:quick --workdir runs/pod --mode=compile    # soon compiled, slower

With `quick` the compiler makes small tiles: it is done in half the time, and a step takes longer.
"""

import pod_150m


def get_config(arg=""):
    if arg not in ("", "quick"):
        raise ValueError(f"pod_cappa takes quick or nothing, not {arg!r}")
    config = pod_150m.make("pod_cappa", "v5e:4x4", width=768, depth=12, layers=12, per_chip=64, fsdp=1)
    config.model.encoder.options.heads = config.model.decoder.options.heads = 12
    config.model.decoder.options.tie = False
    # As big_vision's was compiled. With the options of the other pods, which have more to exchange, a step is estimated
    # at 150 ms in place of 155, and compiling takes half as long again. What the compiler takes grows with the code of
    # a tile: 6 MB for tiles in place of 16, 26 s and 215 ms in place of 53 s and 155 ms.
    config.train.xla_options = {"xla_tpu_scoped_vmem_limit_kib": 6144} if arg == "quick" else {}
    return config
