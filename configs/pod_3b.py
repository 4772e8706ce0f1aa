"""A captioner of three billion parameters for TPU pods: a ViT of 40 layers and 14 layers of a decoder, 2,048 wide.

Commands and arguments are those of configs/pod_150m.py.
"""

from capjax.configs import pod_150m


def get_config(arg=""):
    return pod_150m.make("pod_3b", arg, width=2048, depth=40, layers=14, per_chip=16, fsdp=16)
