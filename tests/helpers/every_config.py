"""Every file of configs/, with the arguments that it takes."""

from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# What a file's argument may be, beside none.
_ARGUMENTS = {
    "flickr8k": ["five"],
    "moving": ["i3d,lstm", "convlstm,gru", "video_vit,transformer"],
    "moving_dense": ["queries", "text"],
    "msvd": ["few"],
    "pod_150m": ["video", "v5p:4x4x4", "4xv5e:16x16,video"],
    "pod_1b": ["video", "v5e:4x4", "4xv5e:16x16,video"],
    "pod_3b": ["video", "v6e:16x16", "v5e:4x4,video"],
    "pod_cappa": ["fast"],
    "videos": ["features"],
}


def every_config() -> list[str]:
    """As `--config` takes them."""
    paths = sorted(CONFIGS.glob("*.py"))
    return [f"{path}{arg}" for path in paths for arg in ["", *(f":{one}" for one in _ARGUMENTS.get(path.stem, []))]]
