"""torchvision and timm as oracles. They come with the extra `dev`; without them the tests that need them skip."""

import functools

import numpy as np
import pytest


@functools.cache
def torch_models():
    """(torch, torchvision.models, timm)."""
    torch = pytest.importorskip("torch")
    # torchvision's own operators are missing beside torch's CPU build; on import it asks for their names alone.
    try:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    except RuntimeError:
        library = None
    torchvision = pytest.importorskip("torchvision")
    timm = pytest.importorskip("timm")
    torch.set_num_threads(1)
    torch_models.library = library  # its names last as long as it does
    return torch, torchvision.models, timm


def randomize(model, seed: int = 0):
    """Random batch norms, or a fresh model's would hide mistakes: they begin as the identity."""
    torch, *_ = torch_models()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
                part.running_mean.normal_(0, 0.3, generator=draw)
                part.running_var.uniform_(0.5, 2.0, generator=draw)
                part.weight.uniform_(0.5, 1.5, generator=draw)
                part.bias.normal_(0, 0.3, generator=draw)
            elif isinstance(part, torch.nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5, generator=draw)
                part.bias.normal_(0, 0.3, generator=draw)
    return model.eval()


def pictures(size: int, count: int = 2) -> np.ndarray:
    """Random uint8 [count, size, size, 3]."""
    return np.random.default_rng(size).integers(0, 256, (count, size, size, 3), np.uint8)


def torch_features(model, features, images: np.ndarray, mean, std) -> np.ndarray:
    """What `features(model, x)` makes of pictures, channels last."""
    torch, *_ = torch_models()
    x = torch.tensor((images - np.asarray(mean)) / np.asarray(std), dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        out = features(model, x).numpy()
    return out.transpose(0, 2, 3, 1) if out.ndim == 4 else out


# Inception-v1's blocks: channels of the branches (Szegedy et al. 2015, table 1).
_INCEPTION = {
    "3b": (64, 96, 128, 16, 32, 32), "3c": (128, 128, 192, 32, 96, 64), "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64), "4d": (128, 128, 256, 24, 64, 64), "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128), "5b": (256, 160, 320, 32, 128, 128), "5c": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def torch_i3d(divide: int = 1, classes: int = 5):
    """I3D with the layers, the padding and the tensor names of pytorch-i3d, up to the last block; all channels divided
    by `divide`. It has a classifier, which is not run."""
    torch, *_ = torch_models()
    nn, pad = torch.nn, torch.nn.functional.pad

    def same(x, kernel, stride):
        """TensorFlow's SAME padding."""
        pads = []
        for length, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
            total = max(k - (s if length % s == 0 else length % s), 0)
            pads += [total // 2, total - total // 2]
        return pad(x, pads)

    class Unit(nn.Module):
        def __init__(self, c_in, c_out, kernel=(1, 1, 1), stride=(1, 1, 1)):
            super().__init__()
            self.conv3d = nn.Conv3d(c_in, c_out, kernel, stride, bias=False)
            self.bn = nn.BatchNorm3d(c_out, eps=1e-3)

        def forward(self, x):
            x = same(x, self.conv3d.kernel_size, self.conv3d.stride)
            return torch.relu(self.bn(self.conv3d(x)))

    class Pool(nn.Module):
        def __init__(self, kernel, stride):
            super().__init__()
            self.kernel, self.stride = kernel, stride

        def forward(self, x):
            return nn.functional.max_pool3d(same(x, self.kernel, self.stride), self.kernel, self.stride)

    class Block(nn.Module):
        def __init__(self, c_in, plain, few_a, wide_a, few_b, wide_b, pooled):
            super().__init__()
            self.b0 = Unit(c_in, plain)
            self.b1a, self.b1b = Unit(c_in, few_a), Unit(few_a, wide_a, (3, 3, 3))
            self.b2a, self.b2b = Unit(c_in, few_b), Unit(few_b, wide_b, (3, 3, 3))
            self.b3a, self.b3b = Pool((3, 3, 3), (1, 1, 1)), Unit(c_in, pooled)

        def forward(self, x):
            branches = [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))]
            return torch.cat(branches, 1)

    first, c = 64 // divide, 192 // divide
    layers = {
        "Conv3d_1a_7x7": Unit(3, first, (7, 7, 7), (2, 2, 2)),
        "MaxPool3d_2a_3x3": Pool((1, 3, 3), (1, 2, 2)),
        "Conv3d_2b_1x1": Unit(first, first),
        "Conv3d_2c_3x3": Unit(first, c, (3, 3, 3)),
        "MaxPool3d_3a_3x3": Pool((1, 3, 3), (1, 2, 2)),
    }
    for name, channels in _INCEPTION.items():
        if name == "4b":
            layers["MaxPool3d_4a_3x3"] = Pool((3, 3, 3), (2, 2, 2))
        if name == "5b":
            layers["MaxPool3d_5a_2x2"] = Pool((2, 2, 2), (2, 2, 2))
        channels = [number // divide for number in channels]
        layers[f"Mixed_{name}"] = Block(c, *channels)
        c = channels[0] + channels[2] + channels[4] + channels[5]

    class I3D(nn.Module):
        def __init__(self):
            super().__init__()
            for name, layer in layers.items():
                self.add_module(name, layer)
            self.logits = nn.Module()
            self.logits.conv3d = nn.Conv3d(c, classes, 1)

        def forward(self, x):
            for name in layers:
                x = getattr(self, name)(x)
            return x

    return I3D()
