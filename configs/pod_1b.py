"""A captioner of a billion parameters for TPU pods: a ViT of 20 layers and 10 layers of a decoder, 1,536 wide. Commands
and arguments are those of configs/pod_150m.py."""

import pod_150m


def get_config(arg=""):
    return pod_150m.make("pod_1b", arg, width=1536, depth=20, layers=10, per_chip=48, fsdp=16)
