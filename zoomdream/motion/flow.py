"""Optical flow: where each pixel of a frame was in another one, and where that can be believed.

All flows here point as `frame.Flow` says: from the frame that is being made to where to look in the
other one. Negating the opposite flow instead leaves ghosts at every edge.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.nn import functional as F

from zoomdream.errors import WeightsError
from zoomdream.media.frame import Flow, Frame, blur, resize, to_bytes
from zoomdream.size import Size

FLOW_LINES = 540  # at which flow is looked for, at most; finer flow costs more and is no better
_APART = 0.04, 0.10  # mean differences of a pixel that are nothing, and too much
_LEAST = 16  # px; DIS raises below 12
FlowEstimator = Callable[[Frame, Frame], Flow]
"""(current, last) -> Flow of the current frame's size: where each of its pixels was in the last one."""


def flow_estimator(
    kind: str, weights: Path | None = None, device: torch.device | None = None
) -> FlowEstimator:
    """`dis` (OpenCV, on the CPU), `raft` (torchvision's small RAFT) or `none` (nothing moves)."""
    made: dict[str, Callable[[], FlowEstimator]] = {
        "dis": dis_estimator,
        "raft": lambda: raft_estimator(weights, device),
        "none": lambda: no_motion,
    }
    return made[kind]()


def no_motion(current: Frame, last: Frame) -> Flow:  # noqa: ARG001
    """Nothing moves."""
    return torch.zeros_like(current[:, :2])


def dis_estimator() -> FlowEstimator:
    """Dense Inverse Search (Kroeger et al. 2016) on brightness."""
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def find(current: Frame, last: Frame) -> Flow:
        size = _looked_at(current)
        if size.shorter < _LEAST:
            return no_motion(current, last)
        grey = [
            cv2.cvtColor(to_bytes(resize(f, size)), cv2.COLOR_RGB2GRAY) for f in (current, last)
        ]
        found = search.calc(grey[0], grey[1], None)
        flow = torch.from_numpy(found).permute(2, 0, 1)[None].to(current.device)
        return resize_flow(flow, Size.of(current))

    return find


def raft_estimator(
    weights: Path | None = None, device: torch.device | None = None
) -> FlowEstimator:
    """RAFT (Teed and Deng 2020), torchvision's small one; its weights are fetched once, or a file's.

    Raises WeightsError where there are none.
    """
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    from zoomdream.network.weights import fetch_weights, read_weights

    network = raft_small(weights=None).eval().requires_grad_(False)
    path = weights or fetch_weights("raft", Raft_Small_Weights.C_T_V2.url)
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else error
        raise WeightsError(f"{path} is not for torchvision's raft_small: {reason}") from None
    network = network.to(device)

    def find(current: Frame, last: Frame) -> Flow:
        size = _looked_at(current)
        right, bottom = (max(128, -(-side // 8) * 8) - side for side in size)
        pair = [
            F.pad(resize(f, size), (0, right, 0, bottom), "replicate") * 2 - 1
            for f in (current, last)
        ]
        flow = network(*pair, num_flow_updates=12)[-1][..., : size.height, : size.width]
        return resize_flow(flow, Size.of(current))

    return find


def _looked_at(frame: Frame) -> Size:
    """The size at which flow is looked for in a frame."""
    size = Size.of(frame)
    return size.scaled(min(1.0, FLOW_LINES / size.shorter))


def resize_flow(flow: Flow, size: Size) -> Flow:
    """A flow of another size, its pixels counted anew along each axis."""
    own = Size.of(flow)
    if own == size:
        return flow
    scale = flow.new_tensor([size.width / own.width, size.height / own.height]).view(1, 2, 1, 1)
    return F.interpolate(flow, size.shape, mode="bilinear", align_corners=False) * scale


def sample_bilinear(planes: Tensor, flow: Flow) -> Tensor:
    """`out(p) = in(p + flow(p))`, bilinear, zero beyond the border: for flows, masks and measures."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def trust_mask(flow: Flow, back: Flow) -> Tensor:
    """(1, 1, H, W), 1 where a flow can be believed, 0 where not.

    back: the flow the other way. Not to be believed, as in Ruder et al. (2016) and Lai et al. (2018):
    where following the flow and then the other does not lead back (occlusion), where the flow changes
    abruptly (motion boundaries), and where it leaves the picture. Their thresholds, px squared.
    """
    height, width = flow.shape[-2:]
    returned = sample_bilinear(back, flow)
    squared = _square(flow)
    occluded = _square(flow + returned) > 0.01 * (squared + _square(returned)) + 0.5
    dx = F.pad(flow[..., :, 1:] - flow[..., :, :-1], (0, 1))
    dy = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    boundary = _square(dx) + _square(dy) > 0.01 * squared + 0.002
    x = torch.arange(width, device=flow.device) + flow[:, :1]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1:]
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return (~(occluded | boundary | outside)).float()


def photometric_consistency(current: Frame, last: Frame, flow: Flow) -> Tensor:
    """(1, 1, H, W), 1 where the last frame shows at a flow's end what the current one shows, else 0.

    A second opinion beside `trust`, of ours: estimators smear flow over what was hidden, where there
    is a way back but another picture.
    """
    apart = (sample_bilinear(last, flow) - current).abs().mean(1, keepdim=True)
    return ((_APART[1] - blur(apart, 1.0)) / (_APART[1] - _APART[0])).clamp(0, 1)


def _square(flow: Flow) -> Tensor:
    return flow.square().sum(1, keepdim=True)
