"""The conductor: read -> move -> dream -> write, on one screen."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from zoomdream import net, presets
from zoomdream.dream import Dreamt, channel_mix, dream
from zoomdream.errors import OutputError, UsageError
from zoomdream.frame import Bytes, Flow, Frame, Sound, as_frame, cover, resize, to_bytes
from zoomdream.metrics import loop_steps
from zoomdream.move import Motion, Ride, Zoom, step_flow
from zoomdream.read import Clip, noise, read_mask, read_still, still
from zoomdream.report import Event, Film, Listener, Progress, Start
from zoomdream.schedule import Clock
from zoomdream.spec import FlowBlend, RenderJob, shipped
from zoomdream.timeline import Timeline
from zoomdream.write import check_target, fitting, has_sound, open_writer

LONGEST, LONGEST_CLIP = (
    512,
    1280,
)  # px of the longer side, of stills and clips, where no size is given
FPS = Fraction(30)  # of a still's film where no rate is given
LOOP_OVERLAP = 1.5  # seconds in which the end of a loop becomes its beginning
LOOP_MEMORY = 1_000_000_000  # bytes that the frames of this may take
LOOP_SEAM = 1.1  # times the median change between frames that the seam may be


def _silent(_: Event) -> None:
    pass


def render_film(
    job: RenderJob,
    progress: Listener = _silent,
    *,
    picture: Any = None,
    network: net.Network | None = None,
) -> Film:
    """Renders a job to its target; `progress` is called with a Start, and a Progress per frame.

    picture: an array or tensor to begin from, instead of the file `job.source` (see `as_frame`).
    network: one that is loaded already. Raises UsageError, InputError, OutputError, WeightsError.
    """
    if job.target is None:
        raise UsageError("the job has no target: name a file to write")
    check_target(job.target, job.force)
    clip = open_clip(job, picture)
    timeline = Timeline(job, clock_of(job, clip))  # a mistake at frame 900 is told now
    network = network or open_network(job)
    check_size(clip, network)
    progress(_start(clip, network, timeline))
    started, count = time.monotonic(), 0
    label = presets.written(as_label(job, network))
    comment = presets.written(as_label(job, network, paths=False))
    check = closes(clip, timeline) if job.output.loop else None
    with open_writer(
        job.target,
        job.output,
        clip.size,
        clip.fps,
        clip.length,
        job.force,
        clip.sound,
        label,
        comment,
        check,
    ) as write:
        for count, dreamt in enumerate(dreamt_frames(job, clip, network), 1):
            write(dreamt.frame)
            progress(Progress(count - 1, clip.length, time.monotonic() - started, dreamt.objective))
    height, width = clip.size
    seconds = time.monotonic() - started
    return Film(job.target, count, clip.fps, (width, height), seconds, tuple(clip.faults))


def _start(clip: Clip, network: net.Network, timeline: Timeline) -> Start:
    height, width = clip.size
    return Start(
        (width, height),
        clip.fps,
        clip.length,
        network.kind.name,
        tuple(map(str, network.targets)),
        network.at.device.type,
        str(network.at.dtype).removeprefix("torch."),
        network.at.why,
        (*clip.notes, *timeline.notes),
    )


@torch.no_grad()
def dreamt_frames(job: RenderJob, clip: Clip, network: net.Network) -> Iterator[Dreamt]:
    """A job's frames, one after another: the loop at the heart of everything.

    A film that is to be a loop is begun some frames early. Its end is drawn, frame by frame, towards those
    early frames, and becomes the very last of them, which the first frame of the film follows.
    """
    timeline = Timeline(job, clock_of(job, clip))
    motion: Motion | None = None
    closing = Closing(job, clip)
    for number, frame in closing.numbered(clip.frames):
        source, chance = frame.to(network.at.device), chance_of(job.seed, number)
        now, t = timeline.at(number), float(number / clip.fps)
        network.weights = weights_of(now, network)
        if motion is None:
            network.balance(source)
            motion = motion_of(job, clip, source)
        mix = channel_mix(network, now.dream, job.seed, t)
        made = Dreamt(source, 0.0)
        for canvas in motion.canvases(source, now, t):
            dreamt = dream(canvas.frame, network, now.dream, chance, canvas.amount, mix)
            made = Dreamt(motion.keep(dreamt.frame, now, chance), dreamt.objective)
        if job.output.loop:
            made = Dreamt(closing.drawn(number, made.frame), made.objective)
            motion.replace(made.frame)
        if number >= 0:
            yield made


class Closing:
    """Makes a film end where it begins; without a loop it lets everything through."""

    def __init__(self, job: RenderJob, clip: Clip) -> None:
        height, width = clip.size
        room = LOOP_MEMORY // (6 * height * width)  # frames that are held, at two bytes a value
        wanted = min(round(LOOP_OVERLAP * clip.fps), clip.length // 2, room)
        self._early = max(1, wanted) if job.output.loop else 0
        self._length = clip.length
        self._held: list[Frame] = []

    def numbered(self, frames: Iterator[Frame]) -> Iterator[tuple[int, Frame]]:
        """Frames with their numbers; those of a loop, whose source stands still, begin below 0."""
        if self._early:
            still_frame = next(frames)
            return ((number, still_frame) for number in range(-self._early, self._length))
        return enumerate(frames)

    def drawn(self, number: int, frame: Frame) -> Frame:
        """An early frame as it is, and held; one near the end drawn towards its early one."""
        if number < 0:
            self._held.append(frame.half().cpu())
            return frame
        place = number - (self._length - self._early)
        if place < 0:
            return frame
        before, after = (_ease((place + k) / self._early) for k in (0, 1))
        share = (after - before) / (1 - before)  # so that all shares together go all the way
        return frame.lerp(self._held[place].to(frame), share)


def _ease(share: float) -> float:
    return share * share * (3 - 2 * share)


def clock_of(job: RenderJob, clip: Clip) -> Clock:
    """When a clip's frames are shown, for schedules."""
    return Clock(clip.fps, clip.length, job.seed, job.bpm)


def weights_of(now: RenderJob, network: net.Network) -> list[float]:
    """Each target's weight, as the settings of a frame say."""
    given = now.dream.layers
    return list(given.values()) if given else [target.weight for target in network.targets]


def motion_of(job: RenderJob, clip: Clip, first: Frame) -> Motion:
    """What moves the dream: a camera, or what moves in the clip itself. first: its first frame."""
    device = first.device
    mask = None if job.mask is None else cover(read_mask(job.mask), clip.size).to(device)
    if job.flow is None:
        return Zoom(job.anchor, clip.fps, palette_of(job, clip.size, first), mask)
    from zoomdream.cuts import Cuts
    from zoomdream.flow import estimator

    estimate = estimator(job.flow.flow, job.flow.flow_weights, device)
    starts_shot = Cuts(clip.fps).starts_shot if job.flow.scenes else lambda _: False
    return Ride(clip.fps, estimate, starts_shot, mask)


def chance_of(seed: int, number: int) -> torch.Generator:
    """Randomness of one frame: from (seed, frame) alone, never carried from frame to frame."""
    return torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)


def palette_of(job: RenderJob, size: tuple[int, int], source: Frame) -> Frame:
    """The picture whose colours and contrasts are kept: the palette's where there is one."""
    if job.anchor.palette is None:
        return source
    return cover(read_still(job.anchor.palette), size).to(source.device)


def open_clip(job: RenderJob, picture: Any = None) -> Clip:
    """The source as a Clip of the film's own size, fps and length."""
    if job.flow is not None:
        return _open_footage(job, job.flow)
    source = None
    if picture is not None:
        source = as_frame(picture)
    elif job.source is not None:
        source = read_still(_ours(job.source, "sample.jpg"))
    wanted = film_size(job, (LONGEST, LONGEST) if source is None else source.shape[-2:])
    size, fps, notes = _fitted(job, wanted, job.output.fps or FPS)
    frame = noise(size, job.seed) if source is None else cover(source, size)
    return replace(still(frame, fps, job.output.length(fps)), notes=notes)


def _ours(path: Path, sample: str) -> Path:
    """A file, or the sample that ships with zoomdream where the word `sample` stands for it."""
    return shipped(sample) if path == Path("sample") and not path.is_file() else path


def _fitted(
    job: RenderJob, size: tuple[int, int], fps: Fraction
) -> tuple[tuple[int, int], Fraction, tuple[str, ...]]:
    """The nearest size and rate that the target can hold, and what had to be changed."""
    if job.target is None:
        return size, fps, ()
    (height, width), rate = fitting(job.target, size, fps)
    notes = []
    if (height, width) != size:
        notes.append(f"the size is {width}x{height}: the format wants even sides")
    if rate != fps:
        notes.append(f"the rate is {float(rate):g} fps: the nearest that a GIF can hold")
    return (height, width), rate, tuple(notes)


def _open_footage(job: RenderJob, blend: FlowBlend) -> Clip:
    """A video file as a Clip, with where its sound is."""
    from zoomdream.footage import open_footage, play

    if job.source is None:
        raise UsageError("a clip has to be given")
    path = _ours(job.source, "sample.mp4")
    footage = open_footage(path)
    wanted = film_size(job, footage.size, longest=LONGEST_CLIP)
    size, fps, notes = _fitted(job, wanted, job.output.fps or footage.fps)
    clip = replace(play(footage, size, fps, blend.start, blend.end), notes=notes)
    if not (job.output.audio and footage.codec):
        return clip
    if job.target is not None and not has_sound(job.target):
        silent = "the film is silent: name it .mp4 or .webm to keep the clip's sound"
        return replace(clip, notes=(*notes, silent))
    return replace(clip, sound=Sound(path, footage.codec, footage.first(blend.start)))


def film_size(job: RenderJob, natural: tuple[int, ...], longest: int = LONGEST) -> tuple[int, int]:
    """(height, width): as asked, or the picture's own shape, `longest` px or less on its longer side."""
    if job.output.size:
        width, height = job.output.size
    else:
        shrink = min(1.0, longest / max(natural))
        height, width = (max(16, round(side * shrink / 2) * 2) for side in natural)
    scale = job.output.scale
    return height if scale == 1 else max(16, 2 * round(height * scale / 2)), (
        width if scale == 1 else max(16, 2 * round(width * scale / 2))
    )


def as_label(job: RenderJob, network: net.Network, paths: bool = True) -> RenderJob:
    """A job as it is put beside its film: with the layers that were chosen, and whole paths.

    paths: False leaves files' names only, for what travels within the film.
    """
    layers = job.dream.layers or {
        str(replace(target, weight=1.0)): target.weight for target in network.targets
    }
    files: dict[str, Any] = {}
    for name in ("source", "weights", "mask"):
        if (path := getattr(job, name)) is not None and path.exists():
            files[name] = path.absolute() if paths else Path(path.name)
    return job.change(dream=job.dream.change(layers=layers), **files)


def closes(clip: Clip, timeline: Timeline) -> Callable[[Path], None]:
    """A check of a finished loop: the seam is no larger a step than those between frames are."""

    def check(film: Path) -> None:
        def moves(frame: Frame, number: int) -> Flow:
            camera, t = timeline.at(number).camera, float(number / clip.fps)
            return step_flow(camera, frame, float(1 / clip.fps), t)

        steps, seam = loop_steps(film, clip.size, clip.fps, moves)
        if seam > LOOP_SEAM * steps:
            raise OutputError(
                f"{film.name} does not close: its seam is {seam / max(steps, 1e-9):.2f} times the step "
                "between frames; more --seconds or less --variety help"
            )

    return check


def check_size(clip: Clip, network: net.Network) -> None:
    """Raises UsageError for frames that are too small for the network."""
    least, (height, width) = network.kind.least, clip.size
    if min(clip.size) < least:
        raise UsageError(
            f"{width}x{height} is too small for {network.kind.name}: at least {least}x{least} would do"
        )


def open_network(job: RenderJob) -> net.Network:
    """The job's network, loaded, with its targets."""
    at = net.place(job.device, job.precision)
    return net.load(job.model, job.dream.targets, weights=job.weights, at=at)


# --- For Python: arrays and tensors in and out ---------------------------------------------------


def zoom(picture: Any = None, **settings: Any) -> Iterator[Bytes]:
    """The frames of a zoom, one after another, as (H, W, 3) uint8 arrays; nothing is written.

    picture: an array or tensor (see `as_frame`), or None for noise. settings: the fields of
    RenderJob: dream, camera, anchor, output, seed, model and so on.

        for frame in zoomdream.zoom(photo, camera=Camera(zoom=2)): show(frame)
    """
    job = RenderJob(**settings)
    clip, network = open_clip(job, picture), open_network(job)
    check_size(clip, network)
    return (to_bytes(dreamt.frame) for dreamt in dreamt_frames(job, clip, network))


def dream_picture(picture: Any, **settings: Any) -> Any:
    """One picture, dreamt at its own size: an array gives a uint8 array, a tensor a Frame.

    picture: see `as_frame`. settings: the fields of RenderJob; `dream` has ten steps per octave and
    four octaves unless given. Raises UsageError and WeightsError.
    """
    job = RenderJob(**settings)
    if "dream" not in settings:
        job = job.change(dream=job.dream.change(octaves=4, steps=10))
    network = open_network(job)
    frame: Frame = as_frame(picture).to(network.at.device)
    mask = None
    if job.mask is not None:
        mask = resize(read_mask(job.mask), (frame.shape[2], frame.shape[3])).to(frame.device)
    network.balance(frame)
    with torch.no_grad():
        dreamt = dream(frame, network, job.dream, chance_of(job.seed, 0), mask).frame
        dreamt = dreamt if mask is None else frame.lerp(dreamt, mask)
    return dreamt if isinstance(picture, torch.Tensor) else to_bytes(dreamt)
