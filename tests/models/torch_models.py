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


def randomise(model, seed: int = 0):
    """Random batch norms, or a fresh model's would hide mistakes: they begin as the identity."""
    torch, *_ = torch_models()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
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
