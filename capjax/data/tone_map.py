"""Maps HDR pictures to the standard range, as video players do on a standard display.

Signals of ITU-R BT.2100, PQ and HLG, become light. Its range is compressed with the curve of ITU-R BT.2390 (the EETF),
applied to the largest of red, green and blue, which keeps hues; then the gamut of BT.2020 is reduced to that of BT.709,
and the light is encoded for the display of BT.1886 for which SDR video is made.
"""

import functools

import numpy as np
from jaxtyping import Float32, UInt8, UInt16

# Values of `color_trc` and `color_primaries` of frames, as ITU-T H.273 numbers them.
PQ, HLG = 16, 18
_UNSPECIFIED, _BT2020 = 2, 9
# Luminance of white on the standard display, by ITU-R BT.2408, and of the HDR master if it does not say, in cd/m².
_SDR_WHITE, _HDR_PEAK = 203.0, 1000.0
# From BT.2020 to BT.709, linear light (ITU-R BT.2087).
_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)  # fmt: skip
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886


def to_sdr(
    rgb: UInt16[np.ndarray, "h w 3"], transfer: int, primaries: int, peak: float | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Returns an HDR picture as SDR.

    Args:
      rgb: Full-range samples.
      transfer: PQ or HLG.
      primaries: As ITU-T H.273 numbers them; unspecified ones count as those of BT.2020.
      peak: Largest luminance of the master in cd/m²; None if unknown. HLG is shown as on a display of 1000 cd/m².
    """
    peak = _HDR_PEAK if transfer == HLG or not peak else min(max(peak, _SDR_WHITE), 10_000.0)
    light = _light_table(transfer)[rgb]
    if transfer == HLG:
        luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)
        light *= (_HDR_PEAK * np.maximum(luminance, 1e-6) ** 0.2)[..., None]  # the OOTF, with a system gamma of 1.2
    largest = np.maximum(light.max(-1), 1e-4)
    light *= (_compressed(largest, peak) / (largest * _SDR_WHITE))[..., None]
    if primaries in (_UNSPECIFIED, _BT2020):
        light = light @ _TO_BT709.T
    return np.round(255 * np.clip(light, 0, 1) ** (1 / _DISPLAY_GAMMA)).astype(np.uint8)


@functools.cache
def _light_table(transfer: int) -> Float32[np.ndarray, "65536"]:
    """Returns the light of each sample: for PQ in cd/m², for HLG that of the scene from 0 to 1."""
    signal = np.arange(65_536) / 65_535
    if transfer == PQ:
        return _pq_to_light(signal).astype(np.float32)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


# Constants of SMPTE ST 2084.
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_to_light(signal: np.ndarray) -> np.ndarray:
    power = signal ** (1 / _M2)
    return 10_000 * (np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1)


def _light_to_pq(light):
    power = (light / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _compressed(light: Float32[np.ndarray, "h w"], peak: float) -> Float32[np.ndarray, "h w"]:
    """Returns luminances up to `peak` as luminances up to SDR white, by the EETF of BT.2390, section 5.4.1."""
    source_white = _light_to_pq(peak)
    white = _light_to_pq(_SDR_WHITE) / source_white
    knee = max(1.5 * white - 0.5, 0.0)
    signal = np.minimum(_light_to_pq(light) / source_white, 1)
    t = (signal - knee) / max(1 - knee, 1e-6)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return _pq_to_light(np.where(signal < knee, signal, spline) * source_white)
