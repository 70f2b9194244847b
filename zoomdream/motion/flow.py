"""Estimates optical flow: where each pixel of a frame was in another one, and where to trust that.

All flows point as `media.frame` says: from the current frame to where to look in the last one. Negating
the opposite flow instead leaves ghosts at every edge.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoomdream.errors import WeightsError
from zoomdream.media.frame import Flow, Frame, blur, resize, to_bytes
from zoomdream.size import Size

FLOW_LINES = 540  # at which flow is estimated, at most; finer flow costs more and is no better
_ERRORS = 0.04, 0.10  # mean differences of a pixel that are nothing, and too much
_LEAST = 16  # px; DIS raises below 12


class FlowEstimator(ABC):
    """Estimates optical flow between two frames. Each frame is prepared once, for several estimates."""

    @abstractmethod
    def prepare(self, frame: Frame) -> Any:
        """Prepares a frame for `flow`, in a form of the estimator's own."""

    @abstractmethod
    def flow(self, current: Any, last: Any, like: Frame) -> Flow:
        """Estimates where each pixel of the current frame was in the last one, both as prepared.

        like: a frame whose size and device the Flow gets.
        """

    def __call__(self, current: Frame, last: Frame) -> Flow:
        """Estimates the same for frames, (1, 3, H, W) in 0..1."""
        return self.flow(self.prepare(current), self.prepare(last), current)


class NoMotion(FlowEstimator):
    """Takes it that nothing moves."""

    def prepare(self, frame: Frame) -> None:
        """Prepares nothing: no frame is looked at."""

    def flow(self, current: None, last: None, like: Frame) -> Flow:  # noqa: ARG002
        return torch.zeros_like(like[:, :2])


class DisFlow(FlowEstimator):
    """Estimates flow by Dense Inverse Search (Kroeger et al. 2016) on brightness, by OpenCV on the CPU."""

    def __init__(self) -> None:
        self._search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def prepare(self, frame: Frame) -> NDArray[np.uint8]:
        """Makes a frame grey, (H, W), of the size at which flow is estimated."""
        small = to_bytes(resize(frame, _estimation_size(frame)))
        return cast(NDArray[np.uint8], cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))

    def flow(self, current: NDArray[np.uint8], last: NDArray[np.uint8], like: Frame) -> Flow:
        if min(current.shape) < _LEAST:
            return torch.zeros_like(like[:, :2])
        pixels = self._search.calc(current, last, None)
        flow = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(like.device)
        return resize_flow(flow, Size.of(like))


class RaftFlow(FlowEstimator):
    """Estimates flow by RAFT (Teed and Deng 2020), torchvision's small one.

    weights: a file; else torchvision's, which are fetched once. Raises WeightsError where there are none.
    """

    def __init__(self, weights: Path | None = None, device: torch.device | None = None) -> None:
        from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

        from zoomdream.network.unwrapping import find_state
        from zoomdream.network.weights import fetch_weights
        from zoomdream.network.weights_file import read_weights

        network = raft_small(weights=None).eval().requires_grad_(False)
        path = weights or fetch_weights("raft", Raft_Small_Weights.C_T_V2.url, "`flow.flow=dis`")
        try:
            state = find_state(read_weights(path), network.state_dict()).state
            network.load_state_dict(state)
        except RuntimeError as error:
            reason = str(error).split("\n")[1].strip() if "\n" in str(error) else error
            raise WeightsError(f"{path} is not for torchvision's raft_small: {reason}") from None
        self._network = network.to(device)

    def prepare(self, frame: Frame) -> tuple[Tensor, Size]:
        """Gives the frame in -1..1, padded to whole blocks of 8 px, and its size before that."""
        size = _estimation_size(frame)
        right, bottom = (max(128, -(-side // 8) * 8) - side for side in size)
        return F.pad(resize(frame, size), (0, right, 0, bottom), "replicate") * 2 - 1, size

    def flow(self, current: tuple[Tensor, Size], last: tuple[Tensor, Size], like: Frame) -> Flow:
        (picture, size), (last_picture, _) = current, last
        flow = self._network(picture, last_picture, num_flow_updates=12)[-1]
        return resize_flow(flow[..., : size.height, : size.width], Size.of(like))


def flow_estimator(
    kind: str, weights: Path | None = None, device: torch.device | None = None
) -> FlowEstimator:
    """Makes an estimator: `dis` (OpenCV, on the CPU), `raft` (torchvision's) or `none` (nothing moves)."""
    estimators: dict[str, Callable[[], FlowEstimator]] = {
        "dis": DisFlow,
        "raft": lambda: RaftFlow(weights, device),
        "none": NoMotion,
    }
    return estimators[kind]()


def _estimation_size(frame: Frame) -> Size:
    """Gives the size at which a frame's flow is estimated."""
    size = Size.of(frame)
    return size.scaled(min(1.0, FLOW_LINES / size.shorter))


def resize_flow(flow: Flow, size: Size) -> Flow:
    """Scales a flow to another size, and its pixels along each axis with it."""
    own = Size.of(flow)
    if own == size:
        return flow
    scale = flow.new_tensor([size.width / own.width, size.height / own.height]).view(1, 2, 1, 1)
    return F.interpolate(flow, size.shape, mode="bilinear", align_corners=False) * scale


def sample_bilinear(planes: Tensor, flow: Flow) -> Tensor:
    """Samples bilinearly: `out(p) = in(p + flow(p))`, zero beyond the border; for flows, masks, measures."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def trust_mask(flow: Flow, back: Flow) -> Tensor:
    """Marks where a flow can be trusted by 1, and where not by 0: (1, 1, H, W).

    back: the flow the other way. Not to be trusted, as in Ruder et al. (2016) and Lai et al. (2018): where
    following the flow and then the other does not lead back (occlusion), where the flow changes abruptly
    (motion boundaries), and where it leaves the picture. Their thresholds, px squared.
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
    """Marks by 1 where the last frame, moved along a flow, shows what the current one does; (1, 1, H, W).

    Falls to 0 as they differ. It adds to `trust_mask`, and is of ours: estimators smear flow over what was
    hidden, where there is a way back but another picture.
    """
    error = (sample_bilinear(last, flow) - current).abs().mean(1, keepdim=True)
    return ((_ERRORS[1] - blur(error, 1.0)) / (_ERRORS[1] - _ERRORS[0])).clamp(0, 1)


def _square(flow: Flow) -> Tensor:
    return flow.square().sum(1, keepdim=True)
