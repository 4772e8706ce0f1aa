"""Weight files for tests, as torchvision would have written them."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def slim_resnet(channels: int = 8, stem: int = 7, seed: int = 0) -> dict[str, np.ndarray]:
    """The tensors of a narrow ResNet with one block a stage, named and laid out as torchvision does it."""
    rng, state = np.random.default_rng(seed), {"fc.weight": np.zeros((3, 8 * channels)), "fc.bias": np.zeros(3)}

    def add(conv, norm, c_in, c_out, size):
        state[f"{conv}.weight"] = rng.normal(size=(c_out, c_in, size, size)) * (2 / (c_out * size * size)) ** 0.5
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{leaf}"] = rng.uniform(0.5, 1.5, c_out)
        state[f"{norm}.num_batches_tracked"] = np.asarray(7)

    add("conv1", "bn1", 3, channels, stem)
    for stage in range(4):
        c = channels * 2**stage
        c_in = max(channels, c // 2)
        add(f"layer{stage + 1}.0.conv1", f"layer{stage + 1}.0.bn1", c_in, c, 3)
        add(f"layer{stage + 1}.0.conv2", f"layer{stage + 1}.0.bn2", c, c, 3)
        if stage:
            add(f"layer{stage + 1}.0.downsample.0", f"layer{stage + 1}.0.downsample.1", c_in, c, 1)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in state.items()}


def write_safetensors(state: dict[str, np.ndarray], path: Path) -> Path:
    save_file({name: np.ascontiguousarray(value) for name, value in state.items()}, path)
    return path
