"""Deforum's settings files: schedules that give what Deforum's give, a camera that goes where its goes."""

import contextlib
import json
import math
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import zoomdream as zd
from tests.conftest import ROOT, Command
from zoomdream.motion.camera import camera_flow
from zoomdream.settings.clock import Clock, Values
from zoomdream.settings.deforum import evaluate_schedule, import_settings
from zoomdream.settings.expression import ScheduleError
from zoomdream.settings.presets import job_of
from zoomdream.settings.timeline import Timeline, nominal_clock
from zoomdream.size import Size

RECORDED = json.loads((ROOT / "tests" / "data" / "deforum.json").read_text())
TINY = ("--size", "64x48", "--octaves", 1, "--device", "cpu")
BASE = {"W": 96, "H": 64, "max_frames": 24, "fps": 15, "seed": 7}


def imported(folder: Path, **settings: Any) -> tuple[zd.RenderJob, list[str]]:
    """Imports settings; returns the preset's job, and the notes."""
    (folder / "d.txt").write_text(json.dumps({**BASE, **settings}))
    text, notes = import_settings(folder / "d.txt")
    return job_of(text, "d.toml"), notes


def camera_at(job: zd.RenderJob, frame: int) -> zd.Camera:
    return Timeline(job, nominal_clock(job)).at(frame).camera


def moved_by(job: zd.RenderJob, size: Size) -> Values:
    """Tells where each pixel of the second frame comes from: (2, H, W), dx and dy."""
    flow: Values = camera_flow(camera_at(job, 1), size, 1 / 15)[0].double().numpy()
    return flow


def test_deforums_schedules_give_what_deforum_gives() -> None:
    """Recorded from FrameInterpolater of sd-webui-deforum's animation_key_frames.py, with its own lines.

    `parse_key_frames` and `get_inbetweens` were run with numexpr 2.14 and pandas on each schedule; what they
    failed at is not in the table, nor what is infinite, nor where integers overflow.
    """
    assert len(RECORDED) > 200
    for case in RECORDED:
        series = evaluate_schedule(case["schedule"], case["frames"], case["seed"])
        assert np.allclose(series, case["values"], rtol=1e-6, atol=1e-9), case["schedule"]


def test_a_preset_says_the_same_at_every_frame(tmp_path: Path) -> None:
    for case in RECORDED:
        film = {"W": 100, "max_frames": case["frames"], "seed": case["seed"], "fps": 10}
        job, _ = imported(tmp_path, **film, translation_x=case["schedule"])
        timeline = Timeline(job, nominal_clock(job))
        pans = [timeline.at(frame).camera.pan[0] * -10 for frame in range(case["frames"])]
        assert np.allclose(pans, case["values"], rtol=1e-6, atol=1e-7), case["schedule"]


@pytest.mark.parametrize(
    ("schedule", "first", "at_50"),
    [
        ("10:(1.5)", 1.5, 1.5),  # no key at 0
        ("0:(1), 100:(3),", 1, 2),  # a comma at the end
        ("0:(where(t>10,2,1))", 1, 2),  # commas inside
        ("1.5", 1.5, 1.5),  # a mere number
        ("0:(1); 100:(3)", 1, 2),
        ("0:(1)\n100:(3)", 1, 2),
        ("0:(1) 100:(3)", 1, 2),
        ("0.0:(1), 100.0:(3)", 1, 2),
        ("{'0':'1', '100':'3'}", 1, 2),
        ("“0”:(1)， 100：(3)", 1, 2),  # noqa: RUF001
        ("0:(−1)\u00a0,\ufeff100:(3)", -1, 1),  # noqa: RUF001
        ("0:(1), # slowly\n 100:(3), # the end", 1, 2),
        ("0:(max(1, t/25, 0)), 100:(9)", 1, 2),
        ("0:(arctan2(t, t+1)*0 + hypot(3, 4))", 5, 5),
        ("0:(1), 100:(3), 999:(7)", 1, 2),
        ("200:(4)", 4, 4),
        ("-5:(9), 0:(2)", 2, 2),
        ("0:(sin(2*pi*t/200))", 0, 1),
    ],
)
def test_where_deforum_fails_the_evident_is_meant(
    schedule: str, first: float, at_50: float
) -> None:
    series = evaluate_schedule(schedule, 101)
    assert (series[0], series[50]) == pytest.approx((first, at_50))


def test_a_deforum_file_becomes_a_preset(tmp_path: Path, zoomdream: Command) -> None:
    settings = {
        "W": 128, "H": 96, "max_frames": 40, "fps": 15, "seed": 11, "animation_mode": "2D",
        "zoom": "0:(1.02), 20:(1.05)", "angle": "0:(0.5*sin(t/5))", "translation_x": "0:(2)",
        "translation_y": "0:(0)", "noise_schedule": "0:(0.02)", "contrast_schedule": "0:(1.0)",
        "strength_schedule": "0:(0.65)", "sampler": "Euler a", "cfg_scale_schedule": "0:(7)",
    }  # fmt: skip
    (tmp_path / "d.txt").write_text(json.dumps(settings))
    answer = zoomdream("presets", "import", "d.txt", "-o", "d.toml")
    assert answer.code == 0, answer.err
    assert "no counterpart: cfg_scale_schedule, sampler, strength_schedule" in answer.err
    job = zd.load_preset(tmp_path / "d.toml")
    assert (job.seed, job.output.size, job.output.frames) == (11, (128, 96), 40)
    assert job.output.fps == 15
    timeline = Timeline(job, Clock(Fraction(15), 40, 11))
    for frame, zoom in ((0, 1.02), (10, 1.035), (39, 1.05)):
        camera = timeline.at(frame).camera
        assert camera.zoom ** (1 / 15) == pytest.approx(zoom)
        assert camera.rotate / 15 == pytest.approx(-0.5 * np.sin(frame / 5))
        assert camera.pan[0] / 15 * 128 == pytest.approx(-2)
    assert timeline.at(3).anchor.grain == 0.02
    assert zoomdream("render", "d.toml", "sample", "-o", "d.mp4", "--frames", 3, *TINY).code == 0


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("no json", 3, "is no JSON"),
        ("[1]", 3, "holds no Deforum settings"),
        (
            '{"max_frames": 10, "zoom": "0:(1.02), 5:(foo(t))"}',
            2,
            'zoom: there is no function "foo"',
        ),
        ('{"max_frames": 10, "angle": "fast"}', 2, "angle: "),
        ('{"max_frames": -1}', 2, "max_frames"),
        ('{"max_frames": 10, "zoom": "0:(1), 5:(1.1.1)"}', 2, "zoom: this is no expression"),
        (
            '{"max_frames": 10, "zoom": "0:(q*2)"}',
            2,
            'zoom: there is no "q" here: there are t, i, s',
        ),
        (
            '{"max_frames": 10, "zoom": "0:(1+t/0)"}',
            2,
            "zoom: this is no number at any frame",
        ),
        (
            '{"max_frames": 10, "zoom": "0:(9**9**9)"}',
            2,
            "zoom: this is no number at any frame",
        ),
        ('{"max_frames": 10, "zoom": "0:(t<<1.5)"}', 2, "zoom: this cannot be evaluated (& | ^"),
        ('{"max_frames": 10, "zoom": "9**9**9:(1)"}', 2, 'zoom: "9**9**9" is no frame'),
        ('{"max_frames": 10, "zoom": "0:"}', 2, "is not frame:(value)"),
        ('{"max_frames": 10, "zoom": ":(1)"}', 2, "is not frame:(value)"),
        ('{"max_frames": 10, "zoom": "0:(-)"}', 2, "zoom: this is no expression"),
        ('{"max_frames": 10, "zoom": true}', 2, "zoom: True is no schedule"),
        ('{"max_frames": 10, "zoom": ""}', 2, "zoom: this is empty"),
        ('{"max_frames": "many"}', 2, "max_frames: many is no whole number"),
        ('{"max_frames": 1e999}', 2, "max_frames: inf is no whole number"),
        ('{"fps": 0}', 2, "fps: 0 is no number above 0"),
        ('{"parseq_manifest": "{}"}', 2, "parseq_manifest: this is no manifest"),
    ],
)
def test_what_is_wrong_in_a_deforum_file(
    tmp_path: Path, zoomdream: Command, content: str, code: int, message: str
) -> None:
    (tmp_path / "d.txt").write_text(content)
    answer = zoomdream("presets", "import", "d.txt")
    assert answer.code == code
    assert message in answer.err
    assert not (tmp_path / "d.toml").exists()


def test_what_is_left_out_held_or_filled_is_noted(tmp_path: Path) -> None:
    def notes(text: str) -> list[str]:
        return [n for n in imported(tmp_path, angle=text)[1] if n.startswith("angle")]

    assert notes("0:(1), 30:(2)") == [
        "angle: the key 30 is before the start or after the end, and left out"
    ]
    assert notes("0:(1), -1:(3), 30:(2)") == [
        "angle: the keys -1, 30 are before the start or after the end, and left out"
    ]
    assert notes("0:( 1 ), 9:(3)") == ["angle: '( 1 )' is held until the next key, as Deforum does"]
    assert notes("0:(log(t))") == [
        "angle: it is no number at some frames, where its neighbours are interpolated"
    ]
    assert notes("0:(200)") == [
        "angle: from frame 0 on there are 24 values beyond what camera.rotate takes, "
        "-96 to 96 per frame, which are held there"
    ]


def test_no_value_that_deforum_renders_is_refused(tmp_path: Path) -> None:
    """Values beyond what a setting takes, and those that are none, become the nearest that it takes."""
    job, _ = imported(
        tmp_path, zoom="0:(1+3*(t==5)), 9:(-1)", angle="0:(1/t)", transform_center_x="0:(0.1*t)",
        noise_schedule="0:(0.9)", contrast_schedule="0:(0), 20:(9)", translation_x="0:(sqrt(t-9))",
    )  # fmt: skip
    assert camera_at(job, 1).zoom == pytest.approx(1)
    assert camera_at(job, 5).zoom == pytest.approx(1e6)
    assert camera_at(job, 10).zoom == pytest.approx(1e-6)
    assert camera_at(job, 0).rotate == camera_at(job, 1).rotate == pytest.approx(-15)
    assert camera_at(job, 20).center == (1, 0.5)
    assert camera_at(job, 18).pan[0] == pytest.approx(-3 / 96 * 15)


@pytest.mark.parametrize(
    ("written", "at_ten"),
    [
        (1.02, 1.02), (1, 1), (1e-5, 1e-5), ("0:(1.02)", 1.02), (None, 1.0),
        ({"0": 1.0, "20": "1.2"}, 1.1), ([1 + n / 100 for n in range(24)], 1.1),
    ],
)  # fmt: skip
def test_a_schedule_may_be_a_number_a_table_or_a_list(
    tmp_path: Path, written: Any, at_ten: float
) -> None:
    job, _ = imported(tmp_path, zoom=written, fps=1)
    assert camera_at(job, 10).zoom == pytest.approx(at_ten)


def test_numbers_may_be_texts_and_names_older(tmp_path: Path) -> None:
    job, notes = imported(
        tmp_path, max_frames="30", W="64", H=64.0, fps="12.5", seed="5",
        flip_2d_perspective=True, perspective_flip_theta="0:(2)",
    )  # fmt: skip
    assert (job.output.frames, job.output.size, job.seed) == (30, Size(64, 64), 5)
    assert job.output.fps == Fraction(25, 2)
    assert camera_at(job, 3).rotate == pytest.approx(2 * 12.5)
    assert notes == []
    assert imported(tmp_path, max_frames=30.0, seed=-1)[1] == [
        "seed: -1 means another one each time; 0 is taken"
    ]
    (tmp_path / "e.txt").write_text('{"zoom": "0:(1.1)"}')  # all else as Deforum has it
    job = job_of(import_settings(tmp_path / "e.txt")[0], "e")
    assert (job.output.frames, job.output.size) == (120, Size(512, 512))
    assert job.output.fps == 15


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_files_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = '{"zoom": "0:(1.1),\r\n\t5:(1.2)", "prompts": {"0": "a café"}}'
    (tmp_path / "d.txt").write_bytes(text.encode(encoding))
    _, notes = import_settings(tmp_path / "d.txt")
    assert notes == ["no counterpart: prompts"]


def test_a_parseq_manifest_wins(tmp_path: Path) -> None:
    frames = [
        {"frame": n, "zoom": 9, "zoom_delta": 1 + n / 100, "angle_delta": 0.5, "noise": 0.01 * n}
        for n in range(11)
    ]
    manifest = {"options": {"output_fps": 20}, "rendered_frames": frames}
    settings = {"zoom": "0:(3)", "translation_x": "0:(2)", "parseq_manifest": json.dumps(manifest)}
    job, notes = imported(tmp_path, **settings)
    assert notes == []
    assert (job.output.frames, str(job.output.fps)) == (24, "15")
    for frame, zoom in ((0, 1), (5, 1.05), (20, 1.1)):
        assert camera_at(job, frame).zoom == pytest.approx(zoom**15)
        assert camera_at(job, frame).rotate == pytest.approx(-0.5 * 15)
        assert camera_at(job, frame).pan[0] == pytest.approx(-2 / 96 * 15)
    assert Timeline(job, nominal_clock(job)).at(7).anchor.grain == pytest.approx(0.07)
    job, _ = imported(tmp_path, **settings, parseq_non_schedule_overrides=True)
    assert (job.output.frames, str(job.output.fps)) == (11, "20")
    job, _ = imported(tmp_path, **settings, parseq_use_deltas=False)
    assert camera_at(job, 3).zoom == pytest.approx(1e6)  # which 9 in each frame is beyond
    _, notes = imported(tmp_path, parseq_manifest="https://example.org/manifest")
    assert notes == ["parseq_manifest: no address is read; the schedules beside it are taken"]
    (tmp_path / "m.json").write_text(json.dumps(manifest))
    assert job_of(import_settings(tmp_path / "m.json")[0], "m").output.frames == 11


def test_pictures_and_masks_are_taken_where_they_are(tmp_path: Path) -> None:
    named = {"init_image": "i.png", "mask_file": "m.png"}
    (tmp_path / "i.png").touch()
    job, notes = imported(tmp_path, **named, use_init=True, use_mask=True)
    assert (job.source, job.mask) == (tmp_path / "i.png", None)
    assert notes == ["mask_file: 'm.png' is no file here"]
    job, notes = imported(tmp_path, **named, use_init=False)
    assert (job.source, notes) == (None, ["no counterpart: init_image, mask_file"])


def test_in_2d_the_camera_goes_where_deforums_goes(tmp_path: Path) -> None:
    """Against OpenCV's rotation about a point, after a translation, as in Deforum's anim_frame_warp_2d."""
    size = Size(96, 64)
    for zoom, angle, x, y, middle in (
        (1.03, 0, 0, 0, (0.5, 0.5)), (1, 2, 0, 0, (0.5, 0.5)), (1, 0, 3, 0, (0.5, 0.5)),
        (1, 0, 0, 3, (0.5, 0.5)), (1.05, 0, 0, 0, (0.2, 0.8)), (1.01, -1, 1, -2, (0.6, 0.5)),
    ):  # fmt: skip
        job, _ = imported(
            tmp_path, zoom=zoom, angle=angle, translation_x=x, translation_y=y,
            transform_center_x=middle[0], transform_center_y=middle[1],
        )  # fmt: skip
        turn = cv2.getRotationMatrix2D((96 * middle[0], 64 * middle[1]), angle, zoom)
        forward = np.vstack([turn, [0, 0, 1]]) @ np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])
        v, u = np.mgrid[0:64, 0:96] + 0.5
        expected = np.tensordot(np.linalg.inv(forward)[:2], np.stack([u, v, np.ones_like(u)]), 1)
        error = moved_by(job, size) - (expected - np.stack([u, v]))
        assert np.abs(error).max() < 0.12, (zoom, angle, x, y, middle)


def test_in_3d_the_camera_goes_where_deforums_goes(tmp_path: Path) -> None:
    """Against a plane at a distance of 1, as in Deforum's transform_image_3d without depth."""
    v, u = np.mgrid[0:64, 0:64] / 31.5 - 1
    plane = np.stack([u, v, np.ones_like(u)])
    for fov in (50, 90):
        focal = 1 / math.tan(math.radians(fov / 2))
        for field, axis in (
            ("translation_x", 0), ("translation_y", 1), ("translation_z", 2),
            ("rotation_3d_x", 0), ("rotation_3d_y", 1), ("rotation_3d_z", 2),
        ):  # fmt: skip
            amount = 2.0 if field.startswith("t") else 1.0
            shift, angles = np.zeros((3, 1, 1)), np.zeros(3)
            if field.startswith("t"):
                shift[axis] = (-1, 1, -1)[axis] * amount / 200
            else:
                angles[axis] = -math.radians(amount)  # of row vectors
            seen = np.tensordot(cv2.Rodrigues(angles)[0], plane, 1) + shift
            expected = -focal * (seen[:2] / seen[2] - plane[:2]) * 32
            job, _ = imported(
                tmp_path, H=96, animation_mode="3D", fov_schedule=fov, **{field: f"0:({amount})"}
            )
            flow = moved_by(job, Size(64, 64))
            scale = (flow * expected).sum() / (expected**2).sum()
            least = 0.7 if field in ("rotation_3d_x", "rotation_3d_y") else 0.94  # ours bend less
            assert least < scale < 1.03, (field, fov, scale)


def test_a_perspective_flip_turns_the_picture_about_its_middle(tmp_path: Path) -> None:
    job, notes = imported(
        tmp_path,
        enable_perspective_flip="True",
        perspective_flip_phi="0:(2)",
        translation_x="0:(9)",
    )
    flow = moved_by(job, Size(96, 64))
    assert np.abs(flow[:, 32, 48]).max() < 0.02
    assert (
        flow[0, 60, 80] < -0.05 < 0.05 < flow[0, 4, 80]
    )  # below it comes nearer, above it goes away
    assert notes == ["not used in this mode: translation_x"]
    job, _ = imported(tmp_path, enable_perspective_flip=True, perspective_flip_gamma="0:(2)")
    flow = moved_by(job, Size(96, 64))
    assert np.abs(flow[:, 32, 48]).max() < 0.02
    assert flow[1, 60, 4] < -0.05 < 0.05 < flow[1, 60, 92]  # the left comes nearer


def test_what_has_no_counterpart_is_listed(tmp_path: Path) -> None:
    settings = {
        "zoom": "0:(1.1)",
        "rotation_3d_x": "0:(1)",
        "sampler": "Euler a",
        "fov": 40,
        "Z": None,
    }
    assert imported(tmp_path, **settings)[1] == [
        "not used in this mode: fov_schedule, rotation_3d_x",
        "no counterpart: sampler",
    ]
    flip = {"flip_2d_perspective": True, "perspective_flip_phi": "0:(2)"}
    assert imported(tmp_path, **settings, **flip, animation_mode="3D")[1] == [
        "not used in this mode: zoom",
        "no counterpart: perspective_flip_phi, sampler",
    ]


def test_other_modes_move_no_camera(tmp_path: Path) -> None:
    job, notes = imported(tmp_path, animation_mode="Video Input", zoom="0:(1.1)")
    assert job.camera.zoom == 1
    assert notes == ["animation_mode: 'Video Input' moves no camera", "not used in this mode: zoom"]


def test_thousands_of_keys_are_read_at_once(tmp_path: Path) -> None:
    """Keys after the end count for nothing; 160,000 characters took 0.1 s, and twice the keys 0.3 s."""
    many = ", ".join(f"{k}: ({(k * 37 % 101) / 7:.15f})" for k in range(6000))
    for frames in (150, 6000):
        started = time.perf_counter()
        job, _ = imported(tmp_path, max_frames=frames, translation_x=many)
        assert time.perf_counter() - started < 5
        assert camera_at(job, 100).pan[0] == pytest.approx(-(3700 % 101) / 7 / 96 * 15)


@pytest.mark.parametrize(
    "text",
    [
        "0:(" + "(" * 5000 + "1" + ")" * 5000 + ")", "0:(" + "t+" * 4900 + "1)", "0:(" + "-" * 9000 + "1)",
        "0:(" + "2**" * 3000 + "2)", "0:(" + "2**" * 1500 + "2)",
        "0:(1<<9**9)", "0:(t" + " and t" * 999 + ")", "9" * 5000 + ":(1)",
        "0:(" + "9" * 5000 + ")", "0:(__import__('os').abort())", "0:((1).__class__)", "0:(é+t)", "0:(t)\0",
        ":" * 9999, "," * 9999, "0:(" * 999, "\"" * 999, "0:(t)," * 99_999, "s:(1)," * 99_999,
        "0:(#", "#", "0:(t²)", "nan:(1)", "0:(nan)",
    ],
)  # fmt: skip
def test_hostile_schedules_get_one_answer_at_once(text: str) -> None:
    started = time.perf_counter()
    with contextlib.suppress(ScheduleError):
        assert evaluate_schedule(text, 50).shape == (50,)
    assert time.perf_counter() - started < 3  # 0.4 on a machine with nothing else to do
