"""Writes a labelled sheet of what single neurons look for."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from zoomdream.dreaming.colors import DreamColors
from zoomdream.errors import UsageError
from zoomdream.film.inputs import resolve_source
from zoomdream.media.frame import Frame, cover, resize
from zoomdream.media.image_formats import check_sheet_target
from zoomdream.media.image_reader import read_still
from zoomdream.media.sheet import Cell, contact_sheet, write_sheet
from zoomdream.network.catalog import network_info
from zoomdream.network.classes import CLASS, class_names
from zoomdream.network.device import choose_place
from zoomdream.network.layer_objectives import Target
from zoomdream.network.network import Network, load_network
from zoomdream.settings.definitions import DreamSpec, NeuronSpec, RenderJob
from zoomdream.size import Size
from zoomdream.study.channels import ChannelChoice, mean_activations
from zoomdream.study.fourier import COLOURS, colours_of
from zoomdream.study.neurons import Progress, visualize_neurons

EXCITE_LONGER_SIDE = 320  # px that a picture is shrunk to, to find the channels that it excites


def neuron_sheet(
    job: RenderJob,
    spec: NeuronSpec,
    what: str | Sequence[str],
    *,
    within: str | None = None,
    top: int | None = None,
    on: Path | None = None,
    columns: int = 0,
    quality: int = 92,
    progress: Progress | None = None,
) -> str:
    """Writes a labelled sheet of pictures to the job's target, and says what is on it.

    job: its network, weights, seed, machine, source (none for noise), colours, target and force are used.
    what: as `parse_channels` takes it, or several of these. within: A:B, of a layer; without, its first
    `FIRST_CHANNELS`. top: instead, the channels that the picture `on` excites most. columns: 0 chooses.
    quality: of JPEG and WebP. Raises UsageError, InputError, OutputError and WeightsError.
    """
    if job.target is None:
        raise UsageError("the job has no target: name a sheet to write")
    check_sheet_target(job.target, job.force)
    choices = [
        ChannelChoice.parse(one, within, top, on)
        for one in ([what] if isinstance(what, str) else what)
    ]
    start = None if job.source is None else cover(_read(job.source, job), Size.square(spec.size))
    colours = _colours(job, start)
    exciting = None if on is None else _shrunk(_read(on, job), job.model)
    at = choose_place(job.device, job.precision)
    cells, shown = [], []
    for choice in choices:
        network = load_network(job.model, [choice.layer], weights=job.weights, at=at)
        targets = choice.targets(network, exciting)
        pictures = visualize_neurons(
            network, targets, spec, job.seed, start, progress, colours=colours
        )
        cells += neuron_cells(network, targets, pictures)
        count = network.channels[choice.layer]
        shown.append(f"{len(targets)} of the {count} channels of {choice.layer}")
    across = columns or (spec.diverse if spec.diverse > 1 else 0)
    write_sheet(job.target, contact_sheet(cells, across, spec.size), job.force, quality)
    more = f", {spec.diverse} pictures each" if spec.diverse > 1 else ""
    return f"{', '.join(shown)} of {job.model}{more}"


def _colours(job: RenderJob, start: Frame | None) -> Tensor:
    """Gives the colours that pictures grow in; what begins with noise has no source, and is natural."""
    spec = job.dream
    if start is None and spec.colors == "source" and not spec.keep_color:
        if spec.color_amount == DreamSpec().color_amount:
            return COLOURS
        spec = spec.change(colors="natural")
    matrix = DreamColors.of_job(job).matrix(spec, torch.empty(0) if start is None else start)
    return colours_of(torch.eye(3) if matrix is None else matrix[0])


def _read(path: Path, job: RenderJob) -> Frame:
    return read_still(resolve_source(path, job), job.max_pixels, Size.square(EXCITE_LONGER_SIDE))


def _shrunk(frame: Frame, model: str) -> Frame:
    """A picture small enough for neurons, which see things of a certain size, and large enough for all."""
    least = network_info(model).least
    return resize(frame, Size.of(frame).within(EXCITE_LONGER_SIDE, least=least)).clamp(0, 1)


def neuron_cells(network: Network, targets: Sequence[Target], pictures: Tensor) -> list[Cell]:
    """Names what `visualize_neurons` made of targets, picture by picture, for a contact sheet.

    What stays silent even so is said to be: its picture shows what the layer sees, and nothing of its own.
    """
    cells = []
    for target, answers in zip(targets, pictures, strict=True):
        name = neuron_label(target, network.channels[target.layer])
        means = mean_activations(network, target.layer, answers)
        for picture, mean in zip(answers, means, strict=True):
            reached = sum(abs(share * float(mean[channel])) for channel, share in target.terms)
            cells.append(Cell(picture[None], (name, *(("silent",) if reached == 0 else ()))))
    return cells


def neuron_label(target: Target, classes: int) -> str:
    """Says what a target's picture is called: as it is dreamt with, and a class by its name."""
    (channel, _), *_ = target.terms
    if target.layer == CLASS and classes == len(class_names()) and not target.is_direction:
        return class_names()[channel]
    return target.name
