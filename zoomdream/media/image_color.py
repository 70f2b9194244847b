"""Bring a stored picture's colours to sRGB: by its ICC profile, or by what else says what they are.

Littlecms converts by profiles, in 8 or 16 bits or floats as the picture is kept. What is told by numbers
instead (CICP, gamma and chromaticities, linear light) is decoded to light, and encoded again; what is
brighter than white is clipped. Both are relative colorimetric: white stays white.
"""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from PIL import ImageCms

from zoomdream.media.color import encode_srgb
from zoomdream.media.frame import WHITE_8, WHITE_16
from zoomdream.media.image_writer import srgb_profile
from zoomdream.media.stored_image import (
    UNUSABLE_PROFILE,
    Channels,
    ColorEncoding,
    Curve,
    Samples,
    StoredImage,
    UnreadableImage,
    white_of,
)

Matrix = NDArray[np.float64]

SRGB_PRIMARIES = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
_D65 = (0.3127, 0.329)
_PRIMARIES = {  # by their numbers in ITU-T H.273; 2 is "unspecified"
    1: SRGB_PRIMARIES,
    2: SRGB_PRIMARIES,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65),
    7: (0.63, 0.34, 0.31, 0.595, 0.155, 0.07, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
    9: (0.708, 0.292, 0.17, 0.797, 0.131, 0.046, *_D65),
    10: (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3),
    11: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.314, 0.351),
    12: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, *_D65),
    22: (0.63, 0.34, 0.295, 0.605, 0.155, 0.077, *_D65),
}
_CURVES: dict[int, Curve] = {  # likewise; television's curves are shown as sRGB's, as in clips
    1: "srgb", 2: "srgb", 4: 2.2, 5: 2.8, 6: "srgb", 8: 1.0, 13: "srgb", 14: "srgb", 15: "srgb",
    16: "pq", 18: "hlg",
}  # fmt: skip
_SRGB = ColorEncoding(SRGB_PRIMARIES)
ADOBE_RGB = ColorEncoding((0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), 2.19921875)
_REFERENCE_WHITE, _HLG_PEAK, _PQ_PEAK = 203, 1000, 10_000  # cd/m2 (ITU-R BT.2408 and BT.2100)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_D50 = (0.3457, 0.3585)
_BLOCK = 1 << 20  # pixels that are converted at a time
_CLIPPED = 1.0005  # light that is told of as brighter than white; 1 and the error of 16 bits
_MOST = 0.5  # share of pixels brighter than white from which floats are no picture
_SAME_PRIMARIES = 2e-3  # the difference of x and y that is none
_HUGE = 1e6  # of white, where light is infinite


def cicp_encoding(primaries: int, transfer: int, full_range: bool = True) -> ColorEncoding | None:
    """What the numbers of ITU-T H.273 mean; None where one of them is not known here."""
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    return ColorEncoding(_PRIMARIES[primaries], _CURVES[transfer], full_range)


def in_srgb(stored: StoredImage) -> tuple[Samples, tuple[str, ...]]:
    """Converts a stored picture: pixels, (H, W, 3) or (H, W, 4) with alpha, and notes on what was lost.

    They have as many bits as it has; floats become 16. It stays as it lies.
    """
    straight = _without_alpha(stored)
    rgb, notes = _converted(straight, stored)
    if stored.alpha is not None:
        alpha = stored.alpha
        if alpha.dtype == np.float32:
            alpha = np.rint(np.nan_to_num(alpha).clip(0, 1) * WHITE_16).astype(np.uint16)
        rgb = np.dstack([rgb, alpha])
    return np.ascontiguousarray(rgb), (*stored.notes, *notes)


def _without_alpha(stored: StoredImage) -> Samples:
    """Frees colours from the alpha that they were multiplied by."""
    samples, alpha = stored.samples, stored.alpha
    if samples.dtype == np.float32:
        samples = np.nan_to_num(samples, nan=0, posinf=np.inf, neginf=-np.inf)
    if alpha is None or not stored.associated:
        return samples
    white, straight = white_of(samples), np.empty_like(samples)
    for rows in _blocks(samples):
        clear = alpha[rows].astype(np.float32)
        factor = np.divide(white, clear, out=np.zeros_like(clear), where=clear > 0)
        freed = samples[rows] * factor[..., None]
        whole = samples.dtype != np.float32
        straight[rows] = np.rint(freed.clip(0, white)) if whole else freed
    return straight


def _blocks(samples: Samples) -> Iterator[slice]:
    """Yields rows that are converted at a time, as floats take much."""
    count = max(1, _BLOCK // samples.shape[1])
    for first in range(0, len(samples), count):
        yield slice(first, first + count)


def _converted(samples: Samples, stored: StoredImage) -> tuple[Samples, tuple[str, ...]]:
    """Converts samples without alpha to RGB."""
    notes: tuple[str, ...] = ()
    if stored.profile:
        by_profile = _by_profile(samples, stored.channels, stored.profile)
        if by_profile is not None:
            return by_profile
        notes = (UNUSABLE_PROFILE,)
    if stored.channels == "lab":
        return _from_lab(samples), notes
    told = None if stored.profile else stored.encoding
    rgb, share = _by_encoding(_plain_rgb(samples, stored.channels), told or _SRGB)
    if told is None and share > _MOST:
        raise UnreadableImage(
            "has floats that are mostly more than 1, which is white: divide them by what white is in it"
        )
    return rgb, (*_clipped_note(share), *notes)


def _plain_rgb(samples: Samples, channels: Channels) -> Samples:
    """RGB of the same curve; ink is taken as what light it leaves."""
    if channels == "grey":
        return samples.repeat(3, 2)
    if channels == "cmyk":
        white = white_of(samples)
        if samples.dtype == np.float32:
            return np.asarray((white - samples[..., :3]) * (white - samples[..., 3:]))
        light = white - samples.astype(np.uint32)
        rest = light[..., 3:]
        return np.asarray((light[..., :3] * rest + white // 2) // white).astype(samples.dtype)
    return samples


def _whole_range(samples: Samples) -> tuple[int, DTypeLike]:
    """White and the type of the whole numbers that samples become: of as many bits, or 16 of floats."""
    return (WHITE_8, np.uint8) if samples.dtype == np.uint8 else (WHITE_16, np.uint16)


def _share_brighter(samples: Samples) -> float:
    """The share of pixels, (H, W, C), with a number that is more than white."""
    return float((samples > _CLIPPED).any(2).mean())


def _clipped_note(share: float) -> tuple[str, ...]:
    if not share:
        return ()
    return (f"{max(0.01, 100 * share):.2g} % of its pixels are brighter than white: clipped",)


# --- By a profile -------------------------------------------------------------------------------------


def _by_profile(
    samples: Samples, channels: Channels, profile: bytes
) -> tuple[Samples, tuple[str, ...]] | None:
    """Converts by an ICC profile; None where it is damaged, or for other channels."""
    import imagecodecs

    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = own.profile.xcolor_space.strip().lower()
        name = ImageCms.getProfileDescription(own).lower()
    except (ImageCms.PyCMSError, OSError):
        return None
    if space == "rgb" and channels == "grey":
        samples, channels = samples.repeat(3, 2), "rgb"
    if space != {"grey": "gray"}.get(channels, channels):
        return None
    if channels == "rgb" and "srgb" in name and "linear" not in name:
        rgb, share = _by_encoding(samples, _SRGB)
        return rgb, _clipped_note(share)
    try:
        rgb = imagecodecs.cms_transform(
            samples if channels != "grey" else samples[..., 0],
            profile, srgb_profile(), colorspace=space, outcolorspace="rgb",
            outdtype=_whole_range(samples)[1],
            intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
            flags=imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    except (imagecodecs.CmsError, ValueError, TypeError):
        return None
    bright = _share_brighter(samples) if samples.dtype == np.float32 else 0
    return rgb.reshape(*samples.shape[:2], 3), _clipped_note(bright)


# --- By numbers ---------------------------------------------------------------------------------------


def _by_encoding(rgb: Samples, encoding: ColorEncoding) -> tuple[Samples, float]:
    """Decodes to light, brings that to sRGB's primaries, and encodes it; also the share that is clipped."""
    as_srgb = encoding.full_range and encoding.curve == "srgb" and rgb.dtype != np.float32
    if as_srgb and np.allclose(encoding.primaries, SRGB_PRIMARIES, atol=_SAME_PRIMARIES):
        return rgb, 0
    matrix = torch.from_numpy(_to_srgb_light(encoding.primaries)).float()
    white = white_of(rgb)
    top, dtype = _whole_range(rgb)
    table = None if white == 1 else _light(np.arange(white + 1) / white, encoding)
    pixels, bright = np.empty(rgb.shape, dtype), 0
    for rows in _blocks(rgb):
        block = rgb[rows]
        light = _light(block, encoding) if table is None else table[block]
        light = _scene_to_display(light) if encoding.curve == "hlg" else light
        bright += int((light > _CLIPPED).any(2).sum())
        linear = torch.from_numpy(light.clip(-_HUGE, _HUGE).astype(np.float32)) @ matrix.T
        encoded = encode_srgb(linear.clamp_(0, 1)).mul_(top).round_()
        pixels[rows] = encoded.numpy()
    return pixels, bright / (rgb.shape[0] * rgb.shape[1])


def _light(numbers: Samples, encoding: ColorEncoding) -> Samples:
    """Decodes numbers 0..1 to light of which 1 is white; HLG to the light of the scene."""
    if not encoding.full_range:
        numbers = ((numbers * WHITE_8 - 16) / (235 - 16)).clip(0, None)
    match encoding.curve:
        case "srgb":
            return np.where(
                numbers <= 0.04045, numbers / 12.92, ((numbers.clip(0) + 0.055) / 1.055) ** 2.4
            )
        case "pq":  # constants of SMPTE ST 2084
            root = numbers.clip(0, 1) ** (32 / 2523)
            ratio = (root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)
            return np.asarray(ratio ** (16384 / 2610) * (_PQ_PEAK / _REFERENCE_WHITE))
        case "hlg":
            a, b, c = 0.17883277, 0.28466892, 0.55991073
            high = (np.exp((numbers.clip(0, 2) - c) / a) + b) / 12
            return np.where(numbers <= 0.5, numbers.clip(0) ** 2 / 3, high)
        case 1.0:
            return numbers
        case exponent:
            return np.asarray(numbers.clip(0) ** exponent)


def _scene_to_display(light: Samples) -> Samples:
    """HLG's light as a display of 1000 cd/m2 shows it (ITU-R BT.2100)."""
    luminance = light @ np.array([0.2627, 0.678, 0.0593])
    return np.asarray(light * luminance[..., None] ** 0.2 * (_HLG_PEAK / _REFERENCE_WHITE))


def _xyz_of_white(x: float, y: float) -> Matrix:
    return np.array([x / y, 1, (1 - x - y) / y])


def _to_xyz(primaries: tuple[float, ...]) -> Matrix:
    """The matrix from light of such primaries to XYZ; raises LinAlgError where they lie on a line."""
    points = np.array(primaries[:6]).reshape(3, 2)
    columns = np.vstack([points.T, 1 - points.sum(1)])
    return np.asarray(columns * np.linalg.solve(columns, _xyz_of_white(*primaries[6:])))


def _adapted(white: tuple[float, float]) -> Matrix:
    """The matrix from XYZ with a white to XYZ with sRGB's, by Bradford's cones."""
    before, after = (_BRADFORD @ _xyz_of_white(*point) for point in (white, _D65))
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(after / before) @ _BRADFORD)


def _to_srgb_light(primaries: tuple[float, ...]) -> Matrix:
    """The matrix from light of such primaries to that of sRGB's."""
    xyz = _adapted((primaries[6], primaries[7])) @ _to_xyz(primaries)
    return np.asarray(np.linalg.solve(_to_xyz(SRGB_PRIMARIES), xyz))


def are_primaries(primaries: tuple[float, ...]) -> bool:
    """Whether such chromaticities can be converted: they span a triangle, and white lies in it."""
    try:
        matrix = _to_srgb_light(primaries)
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return False
    return bool(np.isfinite(matrix).all() and abs(matrix).max() < 100)


def _from_lab(samples: Samples) -> Samples:
    """Converts CIE L*a*b* of D50, as ICC encodes it."""
    white = white_of(samples)
    top, dtype = _whole_range(samples)
    matrix = np.linalg.inv(_to_xyz(SRGB_PRIMARIES)) @ _adapted(_D50) @ np.diag(_xyz_of_white(*_D50))
    pixels = np.empty(samples.shape, dtype)
    for row, stored in enumerate(samples):
        scaled = stored.astype(np.float64) * (WHITE_8 / white)
        fy = (scaled[..., 0] * (100 / WHITE_8) + 16) / 116
        f = np.stack([fy + (scaled[..., 1] - 128) / 500, fy, fy - (scaled[..., 2] - 128) / 200], -1)
        relative = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2)
        light = torch.from_numpy((relative @ matrix.T).clip(0, 1))
        pixels[row] = encode_srgb(light).mul_(top).round_().numpy()
    return pixels
