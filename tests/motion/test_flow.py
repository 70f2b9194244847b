import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests import films
from zoomdream.errors import WeightsError
from zoomdream.media.frame import Frame
from zoomdream.motion.flow import (
    DisFlow,
    RaftFlow,
    flow_estimator,
    photometric_consistency,
    resize_flow,
    sample_bilinear,
    trust_mask,
)
from zoomdream.motion.warp import warp
from zoomdream.size import Size

SIZE = Size(128, 96)


def test_flow_points_from_the_current_frame_to_the_last() -> None:
    last, current = films.panning(2, SIZE, 3)
    flow = DisFlow()(current, last)
    assert flow[0, 0].median() == pytest.approx(3, abs=0.15)
    assert flow[0, 1].abs().median() < 0.15
    inner = (..., slice(8, -8), slice(8, -12))
    assert (warp(last, flow) - current)[inner].abs().mean() < 0.1 * (last - current)[
        inner
    ].abs().mean()


def test_small_frames_have_no_flow_and_large_ones_are_shrunk_for_it() -> None:
    tiny = torch.rand(1, 3, 12, 15)
    assert DisFlow()(tiny, tiny).abs().max() == 0
    last, current = (
        f.repeat_interleave(12, 2).repeat_interleave(12, 3)
        for f in films.panning(2, Size(96, 64), 1)
    )
    flow = DisFlow()(current, last)
    assert flow.shape == (1, 2, 768, 1152)
    assert flow[0, 0].median() == pytest.approx(12, abs=1.5)


def test_pixels_are_counted_anew_along_each_axis() -> None:
    flow = resize_flow(films.shift(Size(20, 10), 1.0, 2.0), Size(30, 20))
    assert torch.allclose(flow[0, :, 5, 5], torch.tensor([1.5, 4.0]))


def test_what_was_hidden_is_not_trusted() -> None:
    last, current = films.sprite(2, SIZE)[:2]
    flow, back = DisFlow()(current, last), DisFlow()(last, current)
    mask = (trust_mask(flow, back) * photometric_consistency(current, last, flow))[0, 0]
    hidden = films.uncovered(1, SIZE)
    assert mask[hidden].mean() < 0.2
    far = torch.ones(SIZE.shape, dtype=torch.bool)
    far[24:72, :64] = False
    assert mask[far].mean() > 0.95


def test_what_leaves_the_picture_is_not_trusted() -> None:
    flow = films.shift(SIZE, 5.0)
    mask = trust_mask(flow, -flow)[0, 0]
    assert mask[:, :-6].min() == 1
    assert mask[:, -5:].max() == 0


def test_trust_is_as_published() -> None:
    """Against the formulas of Ruder et al. and Lai et al., pixel by pixel, in plain Python."""
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(2, 2, 3, 4)) * 2
    flow, back = (torch.from_numpy(f).float()[None] for f in smooth)
    flow, back = (
        torch.nn.functional.interpolate(f, (18, 24), mode="bicubic") for f in (flow, back)
    )
    trusted = trust_mask(flow, back)[0, 0].numpy()
    f, returned = flow[0].double().numpy(), sample_bilinear(back, flow)[0].double().numpy()
    for y in range(17):
        for x in range(23):
            u, v = f[:, y, x], returned[:, y, x]
            dx, dy = f[:, y, x + 1] - f[:, y, x], f[:, y + 1, x] - f[:, y, x]
            occluded = ((u + v) ** 2).sum() > 0.01 * ((u**2).sum() + (v**2).sum()) + 0.5
            boundary = (dx**2 + dy**2).sum() > 0.01 * (u**2).sum() + 0.002
            out = not (-0.5 <= x + u[0] <= 23.5 and -0.5 <= y + u[1] <= 17.5)
            assert trusted[y, x] == (not (occluded or boundary or out))


@pytest.mark.parametrize("size", [Size(128, 96), Size(133, 70)])
def test_raft_takes_any_size(tmp_path_factory: pytest.TempPathFactory, size: Size) -> None:
    """With random weights: it shows that shapes and scales work, not that the flow is right."""
    from torchvision.models.optical_flow import raft_small

    path = tmp_path_factory.mktemp("raft") / "raft.safetensors"
    torch.manual_seed(0)
    save_file(raft_small(weights=None).state_dict(), path)
    current, last = torch.rand(2, 1, 3, *size.shape).unbind(0)
    flow = flow_estimator("raft", path)(current, last)
    assert flow.shape == (1, 2, *size.shape)
    assert torch.isfinite(flow).all()


def test_other_weights_are_no_raft(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("raft") / "w.safetensors"
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match="not for torchvision's raft_small"):
        RaftFlow(path)


def test_none_means_that_nothing_moves(photo: Frame) -> None:
    assert flow_estimator("none")(photo, photo.flip(3)).abs().max() == 0


@pytest.mark.parametrize("kind", ["dis", "none"])
def test_prepared_frames_have_the_same_flow(kind: str) -> None:
    """Of frames that are prepared once it is bit for bit that of frames as they are."""
    last, current = films.panning(2, SIZE, 3)
    estimator = flow_estimator(kind)
    prepared = [estimator.prepare(frame) for frame in (current, last)]
    forth = estimator.flow(prepared[0], prepared[1], current)
    back = estimator.flow(prepared[1], prepared[0], current)
    assert torch.equal(forth, flow_estimator(kind)(current, last))
    assert torch.equal(back, flow_estimator(kind)(last, current))
