"""The size of CapPa (Tschannen et al. 2023): ViT-B/16, 12 layers of a decoder, 248 million parameters, for a comparison
with big_vision's program: photos of 224 pixels, 64 tokens, a batch of 1,024, data parallel on v5e:4x4.

    python launch.py --config configs/pod_cappa.py --workdir runs/pod --mode=compile         # compiles fast
    python launch.py --config configs/pod_cappa.py:fast --workdir runs/pod --mode=compile    # runs fast

Larger tiles make longer kernels: small tiles compile in less than half the time, and `fast`, with larger ones, is for
training (docs/results.md, section "Settings of the pod configs").
"""

from capjax.configs import pod_150m


def get_config(arg=""):
    if arg not in ("", "fast"):
        raise ValueError(f"pod_cappa takes fast or nothing, not {arg!r}")
    config = pod_150m.make("pod_cappa", "v5e:4x4", width=768, depth=12, layers=12, per_chip=64, fsdp=1)
    config.model.encoder.options.heads = config.model.decoder.options.heads = 12
    config.model.decoder.options.tie = False
    # The options of the other pod configs gain little here, where chips exchange less, and take longer to compile.
    # `fast` has the default of 16 MB for tiles, with which big_vision's program was compiled.
    config.train.xla_options = {} if arg == "fast" else {"xla_tpu_scoped_vmem_limit_kib": 6144}
    return config
