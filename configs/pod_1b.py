"""A captioner of a billion parameters for TPU pods: a ViT of 20 layers and 10 layers of a decoder, 1,536 wide. Commands
and arguments are those of configs/pod_150m.py."""

from capjax.configs import pod_150m


def get_config(arg=""):
    # v5p:4x4x4 is faster with parameters sharded over all of its 64 chips, v5e:16x16 over 16 of its 256.
    fsdp = 64 if "v5p" in arg else 16
    return pod_150m.make("pod_1b", arg, width=1536, depth=20, layers=10, per_chip=48, fsdp=fsdp)
