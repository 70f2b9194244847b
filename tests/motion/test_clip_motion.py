"""Dreaming a clip: steady, timed, with its sound."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests import films
from tests.conftest import Command, decode
from tests.films import run, write
from zoomdream.dreaming.ascent import dream
from zoomdream.dreaming.rng import frame_rng
from zoomdream.dreaming.session import DreamSession
from zoomdream.film.inputs import open_clip
from zoomdream.film.render import render
from zoomdream.media.color import to_lab
from zoomdream.media.ffmpeg import ffmpeg_path
from zoomdream.media.frame import Frame
from zoomdream.media.video_reader import open_video
from zoomdream.media.video_streams import list_streams
from zoomdream.motion.clip_motion import ClipMotion
from zoomdream.motion.cuts import CutDetector
from zoomdream.motion.flow import DisFlow, sample_bilinear, trust_mask
from zoomdream.network.device import choose_place
from zoomdream.network.network import Network, load_network
from zoomdream.settings import presets
from zoomdream.settings.definitions import DreamSpec, FlowBlend, Output, RenderJob
from zoomdream.size import Size
from zoomdream.study.comparison import Reading, mean_reading, readings, strength
from zoomdream.study.metrics import warp_error

SIZE = Size(128, 96)
CLIP_JOB = presets.load_preset("clip")
CPU = choose_place("cpu", "fp32")
QUICK = ("--octaves", 1, "--steps", 1, "--device", "cpu", "--layer", "strokes")


def ride(frames: list[Frame], folder: Path, network: Network, **flow: object) -> list[Frame]:
    """Dreams on a clip of frames."""
    source = write(frames, folder / "ride.mp4")
    return frames_of(CLIP_JOB.change(source=source, flow=FlowBlend(**flow)), network)


def frames_of(job: RenderJob, network: Network) -> list[Frame]:
    with render(job, network=network) as film:
        return [rendered.frame for rendered in film]


@pytest.fixture(scope="module")
def eyes() -> Network:
    return load_network("pocket", ["scales"], at=CPU)


def gauge(source: list[Frame], dreamt: list[Frame], network: Network) -> Reading:
    return mean_reading(list(readings(zip(source, dreamt, strict=True), DisFlow(), [network])))


def test_the_dream_rides_on_what_moves(tmp_path: Path, eyes: Network) -> None:
    """Against each frame alone, and the linear blend of earlier projects, at like strength."""
    source = films.panning(10, SIZE)
    spec = DreamSpec(
        octaves=4, octave_scale=1.4, octave_gain=1, steps=10, finest_share=1, step_size=0.002,
        noise=0, calm=0, variety=0, colors="free",
    )  # fmt: skip
    session = DreamSession(eyes)
    alone = [dream(f, session, spec, frame_rng(0, n)).frame for n, f in enumerate(source)]
    blended = [alone[0]]
    for n, frame in enumerate(source[1:], 1):
        canvas = 0.85 * frame + 0.15 * blended[-1]
        blended.append(dream(canvas, session, spec, frame_rng(0, n)).frame)
    ours = gauge(source, ride(source, tmp_path, eyes, strength=0.5), eyes)
    by_itself, linear = gauge(source, alone, eyes), gauge(source, blended, eyes)
    assert ours.strengths[0] > max(by_itself.strengths[0], linear.strengths[0]) * 0.95
    assert ours.warp_error < 0.15 * by_itself.warp_error
    assert ours.warp_error < 0.15 * linear.warp_error
    assert ours.sharpness > 0.9 * linear.sharpness


def test_what_comes_into_sight_is_dreamt_like_its_surroundings(
    tmp_path: Path, eyes: Network
) -> None:
    source = films.sprite(12, SIZE)
    dreamt = ride(source, tmp_path, eyes)
    late = films.uncovered(8, SIZE)  # in sight since frame 8
    rows = slice(SIZE.height // 2 - 12, SIZE.height // 2 + 12)
    for after in (0, 3):
        change = (dreamt[8 + after] - source[8 + after])[0].square().mean(0)
        assert change[late].mean() > 0.5 * change[rows, 64:120].mean()
    still = (dreamt[8] - dreamt[7])[0].abs().mean(0)[:, 100:]
    assert still.mean() < 0.02  # no flash elsewhere


def test_neither_setting_changes_what_the_other_means(tmp_path: Path, eyes: Network) -> None:
    source = films.panning(8, SIZE, 1)

    def change(**flow: object) -> float:
        dreamt = ride(source, tmp_path, eyes, **flow)
        return float(
            torch.stack([(d - s).square().mean() for d, s in zip(dreamt, source, strict=True)])
            .mean()
            .sqrt()
        )

    usual = change()
    for persist in (0.6, 0.8, 0.98):
        assert change(persist=persist) == pytest.approx(usual, rel=0.15)
    assert change(strength=0.5) / change(strength=0.25) == pytest.approx(2, rel=0.2)
    assert change(strength=0) < 0.002


def test_a_cut_starts_anew_and_as_strong(tmp_path: Path, eyes: Network) -> None:
    first, second = (
        films.panning(8, SIZE, 1),
        [f.flip(3).flip(1) for f in films.panning(8, SIZE, 1)],
    )
    source = first + second
    dreamt = ride(source, tmp_path, eyes)
    strengths = [strength(eyes, d) / strength(eyes, s) for d, s in zip(dreamt, source, strict=True)]
    for shot in (strengths[:8], strengths[8:]):
        assert shot[0] == pytest.approx(np.mean(shot), rel=0.10)
    alone = ride(second, tmp_path, eyes)
    ghost = ride(source, tmp_path, eyes, scenes=False)
    assert (dreamt[8] - alone[0]).abs().mean() < (ghost[8] - alone[0]).abs().mean()
    assert not torch.equal(dreamt[8], ghost[8])


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_without_strength_colours_are_the_source(
    tmp_path: Path, zoomdream: Command, name: str
) -> None:
    write([films.photograph(SIZE)] * 4, tmp_path / "in.mp4", 24, "-vf",
          "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd,"
          "setparams=colorspace=bt709:range=tv", "-pix_fmt", "yuv420p", "-crf", 8)  # fmt: skip
    answer = zoomdream("clip", "in.mp4", "-o", name, "--strength", 0, "--quality", 8, *QUICK)
    assert answer.code == 0, answer.err
    pair = []
    for path in ("in.mp4", name):
        footage = open_video(tmp_path / path)
        pair.append(list(footage.clip(footage.size, footage.fps).frames))
    assert len(pair[0]) == len(pair[1])
    for a, b in zip(*pair, strict=True):
        assert (to_lab(a) - to_lab(b)).norm(dim=1).mean() < 1.5


def flash_and_beep(
    path: Path, at: float, *, late: float = 0.0, sound: float = 2.0, rate: int = 25
) -> Path:
    """Two seconds of a photograph; a white flash and a beep `at` seconds. late: the sound begins then."""
    frames = films.as_bytes(films.photograph(Size(64, 48))).repeat(2 * rate, 0)
    frames[round(at * rate) : round(at * rate) + 3] = 255
    write(frames, path.with_name("silent.mp4"), rate, "-c:v", "libx264", "-pix_fmt", "yuv420p")
    beep = f"if(between(t,{at - late},{at - late + 0.12}),sin(6000*t),0)"
    codec = "libopus" if path.suffix == ".webm" else "aac"
    run("-i", path.with_name("silent.mp4"), "-itsoffset", late, "-f", "lavfi", "-i",
        f"aevalsrc='{beep}':s=48000:d={sound}", "-map", 0, "-map", 1, "-c:v",
        "libvpx-vp9" if path.suffix == ".webm" else "copy", "-c:a", codec, path)  # fmt: skip
    return path


def heard(path: Path) -> tuple[float, float, NDArray[np.float32]]:
    """When the flash is seen, when the beep is heard, and the sound, at 48 kHz."""
    frames = decode(path).frames
    fps = float(open_video(path).fps)
    seen = int(np.argmax(frames.mean((1, 2, 3)) > 200)) / fps
    raw = subprocess.run(
        [ffmpeg_path(), "-loglevel", "error", "-i", str(path), "-map", "0:a:0", "-af",
         "aresample=async=1:first_pts=0", "-ac", "1", "-ar", "48000", "-f", "f32le", "-"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    wave = np.frombuffer(raw, np.float32)
    return seen, int(np.argmax(np.abs(wave) > 0.3)) / 48000, wave


@pytest.mark.parametrize(
    ("given", "made", "codec"),
    [("in.mp4", "out.mp4", "aac"), ("in.mp4", "out.webm", "opus"), ("in.webm", "out.mp4", "opus"),
     ("in.mkv", "out.mp4", "aac"), ("in.mov", "out.mp4", "aac")],
)  # fmt: skip
@pytest.mark.parametrize("how", [{}, {"late": 0.5}, {"sound": 1.2}, {"sound": 3.0}])
def test_sound_is_in_step(
    tmp_path: Path, zoomdream: Command, given: str, made: str, codec: str, how: Any
) -> None:
    flash_and_beep(tmp_path / given, 1.0, **how)
    assert zoomdream("clip", given, "-o", made, "--strength", 0, *QUICK).code == 0
    seen, beep, wave = heard(tmp_path / made)
    assert len(decode(tmp_path / made).frames) == 50
    assert abs(seen - 1.0) < 0.001
    assert abs(beep - seen) < 1 / 25
    assert len(wave) / 48000 < 2.06
    assert sound_codec(tmp_path / made) == codec


@pytest.mark.parametrize("given", ["in.mp4", "in.mkv"])
@pytest.mark.parametrize("start", ["0.52", "0:0:00.9"])
def test_a_trimmed_clip_keeps_its_sound_in_step(
    tmp_path: Path, zoomdream: Command, given: str, start: str
) -> None:
    flash_and_beep(tmp_path / given, 1.0)
    words = ("clip", given, "-o", "out.mp4", "--start", start, "--end", 1.6, "--strength", 0)
    assert zoomdream(*words, *QUICK).code == 0
    seen, beep, wave = heard(tmp_path / "out.mp4")
    begun = float(start.split(":")[-1])
    assert seen == pytest.approx(1.0 - begun, abs=0.03)
    assert abs(beep - seen) < 1 / 25
    assert len(wave) / 48000 == pytest.approx(1.6 - begun, abs=0.06)


def sound_codec(film: Path) -> str:
    """The codec of a film's sound; empty where it has none."""
    sound = list_streams(film).sound
    return sound.codec if sound else ""


def test_no_sound_where_there_is_none_or_none_is_wanted(tmp_path: Path, zoomdream: Command) -> None:
    flash_and_beep(tmp_path / "in.mp4", 1.0)
    assert (
        zoomdream("clip", "in.mp4", "-o", "a.mp4", "--no-audio", "--strength", 0, *QUICK).code == 0
    )
    assert zoomdream("clip", "silent.mp4", "-o", "b.mp4", "--strength", 0, *QUICK).code == 0
    gif = zoomdream("clip", "in.mp4", "-o", "c.gif", "--end", 0.4, "--strength", 0, *QUICK)
    assert gif.code == 0
    assert "silent: name it .mp4 or .webm" in gif.err
    for name in ("a.mp4", "b.mp4", "c.gif"):
        assert sound_codec(tmp_path / name) == ""


def test_metrics_of_a_dreamt_clip(tmp_path: Path, zoomdream: Command) -> None:
    write(films.panning(6, SIZE), tmp_path / "in.mp4")
    assert zoomdream("clip", "in.mp4", "-o", "out.mp4", "--device", "cpu", "--octaves", 2).code == 0
    words = ("metrics", "in.mp4", "out.mp4", "--layer", "scales", "--layer", "strokes")
    answer = zoomdream(*words, "--plot", "plot.png")
    assert answer.code == 0, answer.err
    assert "warp error" in answer.out
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    found = json.loads(zoomdream(*words, "--json").out)
    assert found["frames"] == 6
    assert 0 < found["warp_error"] < 0.01
    assert found["strength"]["scales"] > 1.2
    assert 0 < found["palette"] < 50
    assert 0 < min(found["source_dots"], found["dots"]) < 1
    same = json.loads(zoomdream("metrics", "in.mp4", "in.mp4", "--layer", "scales", "--json").out)
    assert same["strength"]["scales"] == pytest.approx(1)
    assert same["flicker"] == 0
    assert same["palette"] == pytest.approx(0, abs=0.01)
    assert same["dots"] == same["source_dots"]


def test_warp_error_is_that_of_the_paper() -> None:
    """Against sums over pixels and channels in plain Python."""
    rng = torch.Generator().manual_seed(0)
    now, later = torch.rand(2, 1, 3, 12, 16, generator=rng).unbind(0)
    coarse = 3 + torch.randn(1, 2, 3, 4, generator=rng) / 4
    flow = torch.nn.functional.interpolate(coarse, (12, 16), mode="bicubic")
    mask = trust_mask(flow, -flow * 0.9)
    warped = sample_bilinear(later, flow)
    total = count = 0.0
    for y in range(12):
        for x in range(16):
            for c in range(3):
                m = float(mask[0, 0, y, x])
                fx, fy = x + float(flow[0, 0, y, x]), y + float(flow[0, 1, y, x])
                if m:
                    x0, y0 = int(np.floor(fx)), int(np.floor(fy))
                    found = 0.0
                    for ya, wy in ((y0, 1 - (fy - y0)), (y0 + 1, fy - y0)):
                        for xa, wx in ((x0, 1 - (fx - x0)), (x0 + 1, fx - x0)):
                            if 0 <= xa < 16 and 0 <= ya < 12:
                                found += wy * wx * float(later[0, c, ya, xa])
                    assert found == pytest.approx(float(warped[0, c, y, x]), abs=1e-5)
                    total += (found - float(now[0, c, y, x])) ** 2
                count += m
    assert warp_error(now, later, flow, mask) == pytest.approx(total / count, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("clip", "none.mp4", "-o", "out.mp4"), 3, "none.mp4: there is no such file"),
        (("clip", "bad.mp4", "-o", "out.mp4"), 3, "holds no clip that can be read"),
        (("clip", "in.mp4"), 2, "where to?"),
        (("clip", "in.mp4", "-o", "o.mp4", "--start", "9"), 2, "a start at 9 s is past that"),
        (("clip", "in.mp4", "-o", "o.mp4", "--start", "x"), 2, "1:23.5 would do"),
        (("clip", "in.mp4", "-o", "o.mp4", "--start", 2, "--end", 1), 2, "not after the start"),
        (("clip", "in.mp4", "-o", "o.mp4", "--persist", 1), 2, "persist"),
        (("clip", "in.mp4", "-o", "o.mp4", "--flow", "fast"), 2, "'dis', 'raft' or 'none'"),
        (("metrics", "in.mp4", "in.mp4", "--flow", "none"), 2, "dis or raft would do"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    tmp_path: Path, zoomdream: Command, words: tuple[object, ...], code: int, said: str
) -> None:
    write(films.counting(10), tmp_path / "in.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no film at all")
    answer = zoomdream(*words)
    assert answer.code == code
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out.mp4").exists()


def test_a_damaged_clip_gives_what_there_is_and_a_warning(
    tmp_path: Path, zoomdream: Command
) -> None:
    noisy = np.random.default_rng(0).integers(0, 255, (50, 48, 64, 3), dtype=np.uint8)
    how = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart")
    write(noisy, tmp_path / "in.mp4", 25, *how)
    content = (tmp_path / "in.mp4").read_bytes()
    (tmp_path / "in.mp4").write_bytes(content[: len(content) * 6 // 10])
    answer = zoomdream("clip", "in.mp4", "-o", "out.mp4", "--strength", 0, *QUICK)
    assert answer.code == 0, answer.err
    assert "Warning: in.mp4 is damaged or cut short" in answer.err
    assert 15 < len(decode(tmp_path / "out.mp4").frames) < 45


def test_a_mask_keeps_the_source(tmp_path: Path) -> None:
    mask = torch.zeros(1, 3, *SIZE.shape)
    mask[..., 64:] = 1
    write([mask], tmp_path / "mask.png", 1, "-frames:v", 1)
    write(films.panning(4, SIZE), tmp_path / "in.mp4")
    job = RenderJob(
        source=tmp_path / "in.mp4", mask=tmp_path / "mask.png", flow=FlowBlend(), output=Output()
    )
    network = load_network("pocket", ["strokes"], at=CPU)
    source = list(open_clip(job).frames)
    for a, b in zip(frames_of(job, network), source, strict=True):
        assert torch.equal(a[..., :60], b[..., :60])
        assert (a - b)[..., 68:].abs().mean() > 0.01


class CountingFlow(DisFlow):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.prepared = self.estimated = 0

    def prepare(self, frame: Frame) -> NDArray[np.uint8]:
        self.prepared += 1
        return super().prepare(frame)

    def flow(self, current: NDArray[np.uint8], last: NDArray[np.uint8], like: Frame) -> Frame:
        self.estimated += 1
        return super().flow(current, last, like)


@pytest.mark.parametrize("checked", [True, False])
def test_a_frame_is_prepared_for_flow_once(checked: bool) -> None:
    source, estimator = films.panning(5, SIZE), CountingFlow()
    motion = ClipMotion(Fraction(24), estimator, CutDetector(Fraction(24)).starts_shot, checked)
    observations = [motion.observe(frame) for frame in source]
    assert estimator.prepared == 5
    assert estimator.estimated == (8 if checked else 4)
    assert [observed.flow is None for observed in observations] == [True, *[False] * 4]
    for observed, last in zip(observations[1:], source, strict=False):
        assert observed.flow is not None
        assert torch.equal(observed.flow, DisFlow()(observed.source, last))
        assert (observed.trusted is None) == (not checked)


@pytest.mark.slow
def test_memory_is_level_over_three_thousand_frames(tmp_path: Path) -> None:
    import psutil

    run("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=30:duration=101", "-pix_fmt", "yuv420p",
        tmp_path / "in.mp4")  # fmt: skip
    job = CLIP_JOB.change(source=tmp_path / "in.mp4")
    job = job.change(dream=job.dream.change(octaves=1, steps=1, layers=("strokes",)))
    network = load_network("pocket", ["strokes"], at=CPU)
    process = psutil.Process()
    with render(job, network=network) as film:
        memory = [process.memory_info().rss for one in film if one.number and one.number % 200 == 0]
    assert len(memory) == 15
    assert max(memory) / memory[0] < 1.05


def test_the_sound_that_players_take_goes_into_the_film(tmp_path: Path, zoomdream: Command) -> None:
    """A commentary stands first, and the second track is the default one."""
    write(films.panning(12, SIZE), tmp_path / "v.mp4", 24)
    tones = [("-f", "lavfi", "-i", f"sine={pitch}:d=0.5") for pitch in (300, 1200)]
    run("-i", tmp_path / "v.mp4", *tones[0], *tones[1], "-map", 0, "-map", 1, "-map", 2, "-c:v", "copy",
        "-disposition:a:0", 0, "-disposition:a:1", "default", tmp_path / "in.mkv")  # fmt: skip
    assert zoomdream("clip", "in.mkv", "-o", "out.mp4", "--strength", 0, *QUICK).code == 0
    wave = heard(tmp_path / "out.mp4")[2]
    pitch = np.abs(np.fft.rfft(wave)).argmax() / len(wave) * 48000
    assert pitch == pytest.approx(1200, abs=20)
