import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from zoomdream.files import shipped
from zoomdream.media.color import transport_maps
from zoomdream.media.frame import Frame
from zoomdream.media.image_reader import read_still
from zoomdream.motion.anchor import AnchorHold, halved, hold_statistics, measure_statistics
from zoomdream.motion.camera import camera_flow
from zoomdream.motion.warp import Warper, is_separable, remap_is_exact, warp
from zoomdream.settings.definitions import Anchor, Camera
from zoomdream.size import Size

STILL = Camera(zoom=1)


def dots(size: int, places: list[tuple[float, float]], sigma: float = 3) -> Tensor:
    at = torch.arange(size) + 0.5
    picture = torch.zeros(size, size)
    for x, y in places:
        picture += torch.exp(-((at[None] - x) ** 2 + (at[:, None] - y) ** 2) / (2 * sigma**2))
    return picture.expand(1, 3, -1, -1).contiguous()


def centre(picture: Tensor, x: float, y: float, reach: int = 16) -> tuple[float, float]:
    """Centre of mass of what is bright around a place."""
    left, top = round(x) - reach, round(y) - reach
    part = picture[0, 0, top : top + 2 * reach, left : left + 2 * reach].double().clamp_min(0)
    at = torch.arange(2 * reach) + 0.5
    whole = part.sum()
    return float((part.sum(0) * at).sum() / whole) + left, float(
        (part.sum(1) * at).sum() / whole
    ) + top


def to_ends(camera: Camera, fps: int) -> Tensor:
    """Where some points are after a second, by composing frames' flows exactly."""
    flow = camera_flow(camera, Size(96, 64), 1 / fps).double()
    ys, xs = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    moved = torch.stack([xs, ys]) + flow[0]
    # A homography from four points, then its power.
    rows, right = [], []
    for y, x in ((8, 8), (8, 80), (50, 8), (50, 80)):
        (a, b), (u, v) = (xs[y, x], ys[y, x]), moved[:, y, x]
        rows += [[a, b, 1, 0, 0, 0, -u * a, -u * b], [0, 0, 0, a, b, 1, -v * a, -v * b]]
        right += [u, v]
    solved = torch.linalg.solve(torch.tensor(rows).double(), torch.tensor(right).double())
    step = torch.cat([solved, torch.ones(1).double()]).view(3, 3)
    points = torch.tensor([[40.0, 60], [20, 30], [1, 1]]).double()
    ends: Tensor = torch.linalg.matrix_power(step, fps) @ points
    return ends


@pytest.mark.parametrize(
    "camera",
    [
        Camera(zoom=1.5),
        Camera(zoom=0.6, rotate=40, pan=(0.1, -0.05)),
        Camera(zoom=1.2, turn=8, tilt=-5, center=(0.3, 0.6)),
    ],
)
def test_a_second_ends_at_the_same_place_at_any_fps(camera: Camera) -> None:
    ends = [to_ends(camera, fps) for fps in (24, 60)]
    slow, fast = (end[:2] / end[2] for end in ends)
    assert torch.allclose(slow, fast, atol=0.02)


def test_zoom_is_a_factor_per_second() -> None:
    flow = camera_flow(Camera(zoom=2), Size.square(64), 1.0)
    # What appears at x = 48.5, 16.5 right of the centre, was 8.25 right of it before.
    assert float(flow[0, 0, 32, 48]) == pytest.approx(-8.25, abs=1e-3)


@pytest.mark.parametrize(
    ("camera", "to"),
    [
        (Camera(zoom=1, rotate=90), (80.0, 100.0)),  # clockwise: right of the centre goes below it
        (Camera(zoom=1, pan=(0.125, 0)), (80.0, 80.0)),  # the camera goes right, the picture left
        (Camera(zoom=1, pan=(0, 0.125)), (100.0, 60.0)),
        (Camera(zoom=2), (120.0, 80.0)),
    ],
)
def test_directions(camera: Camera, to: tuple[float, float]) -> None:
    moved = warp(dots(160, [(100, 80)]), camera_flow(camera, Size.square(160), 1.0))
    assert centre(moved, *to) == pytest.approx(to, abs=0.1)


def test_turn_and_tilt_look_right_and_up() -> None:
    right = warp(dots(160, [(80, 80)]), camera_flow(Camera(zoom=1, turn=5), Size.square(160), 1.0))
    shift = 80 / math.tan(math.radians(30)) * math.tan(math.radians(5))
    assert centre(right, 80 - shift, 80) == pytest.approx((80 - shift, 80), abs=0.1)
    up = warp(dots(160, [(80, 80)]), camera_flow(Camera(zoom=1, tilt=5), Size.square(160), 1.0))
    assert centre(up, 80, 80 + shift) == pytest.approx((80, 80 + shift), abs=0.1)


def test_a_thousand_composed_steps_drift_less_than_a_twentieth_of_a_pixel() -> None:
    """A full turn in a thousand steps brings a grid of dots back."""
    grid = [(24.0, 24.0), (72.0, 24.0), (24.0, 72.0), (72.0, 72.0)]
    flow = camera_flow(Camera(zoom=1, rotate=360), Size.square(96), 1 / 1000)
    picture = dots(96, grid)
    for _ in range(1000):
        picture = warp(picture, flow)
    for place in grid:
        assert centre(picture, *place, reach=14) == pytest.approx(place, abs=0.05)


def test_a_slow_pan_does_not_drift() -> None:
    """The bicubic kernel of grid_sample (a = -0.75) would be 9 px off here."""
    picture, steps, step = dots(256, [(228, 128)]), 800, 0.25
    flow = torch.zeros(1, 2, 256, 256)
    flow[:, 0] = step
    for _ in range(steps):
        picture = warp(picture, flow)
    assert centre(picture, 28, 128) == pytest.approx((28, 128), abs=0.05)


def test_in_and_out_gives_the_centre_back() -> None:
    photo, size = read_still(shipped("sample.jpg")), Size.square(512)
    inward = warp(photo, camera_flow(Camera(zoom=1.5), size, 1 / 30))
    back = warp(inward, camera_flow(Camera(zoom=1 / 1.5), size, 1 / 30))
    error = (back - photo)[..., 12:-12, 12:-12].square().mean()
    assert -10 * math.log10(float(error)) > 40


def test_no_motion_changes_nothing(photo: Frame) -> None:
    assert torch.allclose(warp(photo, camera_flow(STILL, Size.of(photo), 1 / 30)), photo, atol=1e-4)


def test_borders_are_mirrored() -> None:
    picture = torch.rand(1, 3, 32, 32)
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 8
    moved = warp(picture, flow)
    assert torch.allclose(moved[..., :24], picture[..., 8:], atol=1e-4)
    assert torch.allclose(moved[..., 24:], picture[..., 24:].flip(3), atol=1e-4)
    out = warp(torch.ones(1, 3, 32, 48), camera_flow(Camera(zoom=0.2, turn=60), Size(48, 32), 1.0))
    assert torch.allclose(out, torch.ones(1), atol=1e-4)  # never a black corner


def test_hold_draws_bands_and_mean_to_the_target(photo: Frame) -> None:
    target = measure_statistics(photo, 5)
    burnt = ((photo - 0.5) * 1.6 + 0.4).clamp(-1, 2)
    anchor, held = Anchor(rate=0.2), burnt
    for _ in range(60):
        held = hold_statistics(held, target, anchor)
    now = measure_statistics(held, 5)
    assert torch.allclose(now.mean, target.mean, atol=2e-3)
    off = (now.covariances - target.covariances).flatten(1).norm(dim=1)
    whole = target.covariances.flatten(1).norm(dim=1)
    strong = whole > 0.02**2
    assert (off[strong] < 0.2 * whole[strong]).all()


def test_transport_maps_turn_one_covariance_into_another() -> None:
    """The whole map does, a share of it goes a share of the way, and no factor is beyond the limit."""
    rng = torch.Generator().manual_seed(0)
    roots = torch.randn(2, 4, 3, 3, generator=rng)
    now, wanted = 0.02 * roots @ roots.mT
    whole = transport_maps(now, wanted, 1.0, 1e6)
    assert torch.allclose(whole @ now @ whole.mT, wanted, atol=1e-4)
    half = transport_maps(now, wanted, 0.5, 1e6)
    assert torch.allclose(half @ half, whole, rtol=1e-3, atol=1e-4)
    limited = torch.linalg.eigvalsh(transport_maps(now, wanted, 1.0, 1.1))
    assert limited.min() > 1 / 1.1 - 1e-5
    assert limited.max() < 1.1 + 1e-5


def test_hold_is_limited_in_one_frame(photo: Frame) -> None:
    flat = photo * 0.01 + 0.4
    held = hold_statistics(flat, measure_statistics(photo, 5), Anchor(rate=1, limit=1.1))
    before, after = (
        measure_statistics(f, 5).covariances[:-1].diagonal(dim1=1, dim2=2).max()
        for f in (flat, held)
    )
    assert after < before * 1.11**4  # variances, of a band and then of the whole


def test_anchors_differ(photo: Frame) -> None:
    palette = torch.tensor([0.8, 0.2, 0.1]).view(1, 3, 1, 1).expand(1, 3, 96, 128)
    held = {}
    for to in ("source", "running", "palette", "none"):
        like = palette if to == "palette" else photo
        path = Path("palette.png") if to == "palette" else None
        anchor = Anchor(to=to, palette=path, rate=0.5, grain=0, memory=0.1)
        keeper, canvas = AnchorHold(anchor, Fraction(30), like), keeper_start(photo)
        for _ in range(5):
            canvas = keeper.keep(canvas, torch.Generator())
        held[to] = canvas.mean((0, 2, 3))
    source = photo.mean((0, 2, 3))
    assert torch.dist(held["source"], source) < 0.05
    assert torch.dist(held["none"], keeper_start(photo).mean((0, 2, 3))) < 1e-5
    assert torch.dist(held["running"], source) > torch.dist(held["source"], source)
    assert held["palette"][0] > held["palette"][1] + 0.2


def keeper_start(photo: Frame) -> Frame:
    return (photo * 0.5).clamp(0, 1)


def test_grain_is_seeded(photo: Frame) -> None:
    keeper = AnchorHold(Anchor(grain=0.02), Fraction(30), photo)
    one, same, other = (keeper.keep(photo, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_grey_stays_grey(photo: Frame) -> None:
    grey = photo.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    keeper, canvas = AnchorHold(Anchor(), Fraction(30), grey), grey
    for _ in range(50):
        canvas = keeper.keep(canvas, torch.Generator())
    assert torch.allclose(canvas[:, 0], canvas[:, 2], atol=2e-3)


@pytest.mark.skipif(not remap_is_exact(), reason="needs OpenCV 5")
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_both_ways_to_look_up_are_the_same(channels: int) -> None:
    rng = torch.Generator().manual_seed(0)
    planes = torch.rand(1, channels, 61, 90, generator=rng)
    flow = 12 * torch.randn(1, 2, 61, 90, generator=rng)  # beyond every edge, too
    assert not is_separable(flow)
    expected = Warper(shortcuts=False)(planes, flow)
    assert (Warper()(planes, flow) - expected).abs().max() < 2e-5


@pytest.mark.parametrize(
    "camera",
    [
        Camera(zoom=1.3),
        Camera(zoom=0.2, pan=(0.4, 0.0)),  # beyond every edge, more than once
        Camera(zoom=20, center=(0.1, 0.9)),
        Camera(zoom=1, pan=(-3, 2)),
    ],
)
@pytest.mark.parametrize("size", [Size(60, 97), Size(150, 32), Size(40, 33)])
def test_axes_one_by_one_are_the_same_warp(camera: Camera, size: Size) -> None:
    frame = torch.rand(1, 3, *size.shape, generator=torch.Generator().manual_seed(0))
    flow = camera_flow(camera, size, 1.0)
    assert is_separable(flow)
    expected = Warper(shortcuts=False)(frame, flow)
    assert (Warper()(frame, flow) - expected).abs().max() < 2e-5
    assert torch.equal(warp(frame, flow), Warper()(frame, flow))


def test_a_camera_that_turns_needs_both_axes_at_once() -> None:
    for camera in (Camera(rotate=5), Camera(turn=5), Camera(swirl=9), Camera(kaleidoscope=6)):
        assert not is_separable(camera_flow(camera, Size(50, 40), 0.1))


def test_a_warper_follows_every_change_of_flow() -> None:
    """What it keeps for one flow is never used for another, nor for frames of another size."""
    warper, rng = Warper(), torch.Generator().manual_seed(0)
    for camera, size in (
        (Camera(zoom=1.5), Size(40, 32)),
        (Camera(rotate=30), Size(40, 32)),
        (Camera(zoom=1.5), Size(64, 48)),
        (Camera(zoom=1.5, pan=(0.1, 0)), Size(40, 32)),
        (Camera(turn=8), Size(48, 64)),
    ):
        flow = camera_flow(camera, size, 0.5)
        for _ in range(2):
            frame = torch.rand(1, 3, *size.shape, generator=rng)
            assert torch.equal(warper(frame, flow), warp(frame, flow))


def test_halving_is_the_mean_of_four() -> None:
    for size in ((48, 64), (47, 64), (48, 63)):
        planes = torch.rand(1, 3, *size).permute(0, 1, 3, 2)
        expected = torch.nn.functional.avg_pool2d(planes, 2, ceil_mode=True)
        assert torch.allclose(halved(planes), expected, atol=1e-6)
