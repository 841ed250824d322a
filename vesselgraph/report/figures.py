"""Pictures of images and graphs: slices and maximum-intensity projections, world-true and in radiological convention."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from vesselgraph.edit import resample
from vesselgraph.graph import VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.report.columns import colour_of_edge
from vesselgraph.report.palette import TREE_COLOURS, rgb
from vesselgraph.report.views import VIEWS, Frame, ViewName, axial_part, project, sample_plane
from vesselgraph.resampling import resample_like
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume

Window = tuple[float, float]

# Overlays are drawn at twice the picture's resolution: thin lines stay smooth on any screen.
_OVERLAY_SCALE = 2
_CT_BELOW = -500.0
_SOFT_TISSUE = (-150.0, 250.0)
_SCALE_BARS = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, eq=False)
class Picture:
    """A grey picture and what is drawn over it.

    Parameters
    ----------
    base : (height, width) uint8
        Grey values, with the patient's sides and a scale bar drawn in.
    overlay : (2 height, 2 width) uint8
        0 where nothing is drawn, else 1 + place in ``TREE_COLOURS``.
    caption : str
        What it shows, in words.
    """

    base: NDArray[np.uint8]
    overlay: NDArray[np.uint8]
    caption: str

    def rgb(self, *, with_overlay: bool = True) -> NDArray[np.uint8]:
        """Return the colours, (height, width, 3) bytes."""
        image = Image.fromarray(self.base).convert("RGBA")
        if with_overlay and self.overlay.any():
            image.alpha_composite(self._overlay_image().convert("RGBA").resize(image.size, Image.Resampling.BOX))
        return np.asarray(image.convert("RGB"))

    def save(self, path: str | Path, *, with_overlay: bool = True) -> Path:
        """Write the picture as PNG and return its path.

        Raises
        ------
        OutputError
            The place cannot be written.
        """
        with atomic_path(path) as temporary:
            Image.fromarray(self.rgb(with_overlay=with_overlay)).save(temporary, format="PNG")
        return Path(path)

    def base_jpeg(self) -> str:
        """Return the grey picture as base64 JPEG."""
        return _base64(Image.fromarray(self.base), format="JPEG", quality=78, optimize=True)

    def overlay_png(self) -> str:
        """Return the overlay as base64 PNG with a transparent ground, empty text if nothing is drawn."""
        if not self.overlay.any():
            return ""
        return _base64(self._overlay_image(), format="PNG", transparency=0, bits=4)

    def _overlay_image(self) -> Image.Image:
        height, width = self.overlay.shape
        indexed = Image.frombytes("P", (width, height), self.overlay.tobytes())
        indexed.putpalette([0, 0, 0, *rgb(TREE_COLOURS).ravel().tolist()])
        indexed.info["transparency"] = 0
        return indexed


def _base64(image: Image.Image, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, **options)  # type: ignore[arg-type]
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def display_window(image: Volume, region: Volume | None = None, graph: VesselGraph | None = None) -> Window:
    """Return the grey values shown black and white, so that soft tissue and the vessels in it are told apart.

    In a region: three interquartile ranges around the middle half of its values, which a rim of fat, lung or bone does not
    move. Without a region, if it is the whole image, or if a quarter of it is lung or air: -150 to 250 on CT (recognised by
    values below -500), else the 1st to 99.5th percentile. Three quarters of the values under the graph stay below white (not
    all: false branches on bone or kidney must not darken the rest). NaN is left out; the width is never 0.
    """
    values = _sampled_values(image, region)
    low, high = (0.0, 1.0) if values.size == 0 else _usual_window(values, image, region)
    if graph is not None and graph.n_points:
        inside = _values_at(image, graph.path_position)
        if inside.size:
            high = max(high, float(np.percentile(inside, 75.0)) + 0.1 * (high - low))
    return (low, high) if high - low > 1e-6 else (low - 0.5, low + 0.5)


def _usual_window(values: NDArray[np.float32], image: Volume, region: Volume | None) -> Window:
    if _is_a_part(region, image):
        low, high = (float(v) for v in np.percentile(values, (25.0, 75.0)))
        if low < _CT_BELOW:
            # A quarter of lung or air: the quartiles tell nothing about the tissue vessels lie in.
            return _SOFT_TISSUE
        return low - 3.0 * (high - low), high + 3.0 * (high - low)
    if float(values.min()) < _CT_BELOW:
        return _SOFT_TISSUE
    low, high = (float(v) for v in np.percentile(values, (1.0, 99.5)))
    return low, high


def _is_a_part(region: Volume | None, image: Volume) -> bool:
    return region is not None and region.shape == image.shape and bool(region.array.any()) and not bool(region.array.all())


def _sampled_values(image: Volume, region: Volume | None) -> NDArray[np.float32]:
    """Return finite values of at most some 160 voxels an axis, in the region if it is a part of the image."""
    thin = tuple(slice(None, None, max(1, n // 160)) for n in image.shape)
    values = image.array[thin].astype(np.float32)
    usable = np.isfinite(values)
    if region is not None and _is_a_part(region, image):
        inside = usable & region.array[thin].astype(bool)
        usable = inside if inside.any() else usable
    return values[usable]


def _values_at(image: Volume, points: FloatArray) -> NDArray[np.float32]:
    index = np.round(image.space.to_index(points)).astype(int)
    inside = ((index >= 0) & (index < np.array(image.shape))).all(axis=1)
    values = image.array[tuple(index[inside].T)].astype(np.float32)
    return values[np.isfinite(values)]


def render_slice(
    image: Volume,
    view: ViewName = "axial",
    position: float | None = None,
    *,
    graph: VesselGraph | None = None,
    box: FloatArray | None = None,
    window: Window | None = None,
    size: int = 480,
) -> Picture:
    """Return one slice with the vessels' cut outlines and centerlines drawn over it.

    Parameters
    ----------
    image : Volume
        Any direction: the plane is resampled, linearly, onto world axes.
    view : {"axial", "coronal", "sagittal"}
        Axial and coronal have the patient's right on the left side; sagittal has the front on the left.
    position : float, optional
        World z, y or x of the plane, mm; the middle of the box if left out.
    graph : VesselGraph, optional
        Outlines are where the plane cuts the vessels; centerlines are drawn where they run within 1 mm of it.
    box : (2, 3) mm, optional
        World box to show; the whole image if left out.
    window : (float, float), optional
        Values shown black and white; see :func:`display_window`.
    size : int
        Longest edge of the box over all views, pixels.
    """
    shown = image.bounds if box is None else box
    place = float(shown[:, VIEWS[view].depth].mean()) if position is None else float(position)
    return render_slices(image, view, [place], graph=graph, box=shown, window=window, size=size)[0]


def render_slices(
    image: Volume,
    view: ViewName,
    positions: Sequence[float],
    *,
    graph: VesselGraph | None,
    box: FloatArray,
    window: Window | None = None,
    size: int = 480,
) -> list[Picture]:
    """Return :func:`render_slice` of several positions, mm; the graph is prepared once for all of them."""
    frame = _frame(view, box, size)
    limits = window or display_window(image, graph=graph)
    dense = None if graph is None or graph.n_edges == 0 else resample(graph, 0.5)
    pictures = []
    for place in positions:
        grey = _to_grey(sample_plane(image, frame, place), limits)
        caption = f"{view} slice at {'xyz'[frame.view.depth]} = {place:.1f} mm"
        pictures.append(Picture(_annotated(grey, frame), _draw_cut(frame, dense, place), caption))
    return pictures


def render_mip(
    image: Volume,
    view: ViewName = "coronal",
    *,
    region: Volume | None = None,
    graph: VesselGraph | None = None,
    box: FloatArray | None = None,
    window: Window | None = None,
    size: int = 480,
) -> Picture:
    """Return a maximum-intensity projection with the centerlines drawn over it; see :func:`render_slice` for the rest.

    Parameters
    ----------
    region : Volume, optional
        Bool mask; only voxels in it count, elsewhere the picture is black.
    window : (float, float), optional
        If left out, from the 20th to the 99.7th percentile of the picture, but not above the white of
        :func:`display_window`, so that bone does not darken the vessels.
    """
    shown = image.bounds if box is None else box
    return render_mips(image, (view,), region=region, graph=graph, box=shown, window=window, size=size)[view]


def render_mips(
    image: Volume,
    views: tuple[ViewName, ...],
    *,
    region: Volume | None,
    graph: VesselGraph | None,
    box: FloatArray,
    rim: float = 0.0,
    window: Window | None = None,
    size: int = 480,
) -> dict[ViewName, Picture]:
    """Return :func:`render_mip` of several views; ``rim`` mm of the region's edge are left out unless nothing would remain."""
    values = axial_part(_finite(image), box)
    if region is not None and region.array.any():
        mask = _mask_on(values, region, box, rim)
        values = values.with_array(np.where(mask, values.array, np.float32(-np.inf)))
    usual = display_window(image, region, graph)
    result: dict[ViewName, Picture] = {}
    for view in views:
        frame = _frame(view, box, size)
        projected, place = project(values, frame)
        grey = _to_grey(projected, window or _mip_window(projected[np.isfinite(projected)].astype(np.float32), usual))
        scaled = Image.fromarray(grey).resize(frame.size, Image.Resampling.BICUBIC, box=place)
        caption = f"{view} maximum-intensity projection"
        result[view] = Picture(_annotated(np.asarray(scaled), frame), _draw_lines(frame, graph), caption)
    return result


def _frame(view: ViewName, box: FloatArray, size: int) -> Frame:
    return Frame(VIEWS[view], box, float((box[1] - box[0]).max()) / size)


def _finite(image: Volume) -> Volume:
    if image.array.dtype.kind != "f":
        return image
    usable = np.isfinite(image.array)
    if usable.all():
        return image
    lowest = image.array[usable].min() if usable.any() else 0.0
    return image.with_array(np.where(usable, image.array, lowest).astype(np.float32))


def _mask_on(values: Volume, region: Volume, box: FloatArray, rim: float) -> NDArray[np.bool_]:
    part = axial_part(region, box)
    if not part.is_on_grid_of(values):
        part = resample_like(region, values, interpolation="nearest")
    mask = part.array.astype(np.uint8)
    thinner = mask
    for axis in range(3):
        reach = round(rim / part.space.spacing[axis])
        thinner = ndimage.minimum_filter1d(thinner, 2 * reach + 1, axis=axis, mode="nearest") if reach else thinner
    return (thinner if thinner.any() else mask) > 0


def _mip_window(values: NDArray[np.float32], usual: Window) -> Window:
    if values.size == 0:
        return usual
    low, high = (float(v) for v in np.percentile(values, (20.0, 99.7)))
    high, width = min(high, usual[1]), usual[1] - usual[0]
    return (low, high) if high - low > 0.15 * width else (high - 0.5 * width, high)


def _to_grey(values: NDArray[np.generic], window: Window) -> NDArray[np.uint8]:
    low, high = window
    scaled = np.nan_to_num((values.astype(np.float32) - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0)
    return np.round(np.clip(scaled, 0.0, 1.0) * 255.0).astype(np.uint8)


def _annotated(grey: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """Return the picture with the patient's sides at its edges and a millimetre bar in its lower left corner."""
    image = Image.fromarray(grey)
    draw = ImageDraw.Draw(image)
    width, height = image.size
    font = ImageFont.load_default(13)
    left, right, top, bottom = frame.view.labels

    def write(x: float, y: float, text: str, anchor: str) -> None:
        draw.text((x, y), text, anchor=anchor, fill=255, font=font, stroke_width=2, stroke_fill=0)

    write(4, height / 2, left, "lm")
    write(width - 4, height / 2, right, "rm")
    write(width / 2, 4, top, "mt")
    write(width / 2, height - 4, bottom, "mb")
    fitting = [bar for bar in _SCALE_BARS if bar / frame.step <= 0.3 * width]
    if fitting:
        length = fitting[-1] / frame.step
        draw.rectangle((7, height - 11, 9 + length, height - 7), fill=0)
        draw.rectangle((8, height - 10, 8 + length, height - 8), fill=255)
        write(8, height - 14, f"{fitting[-1]} mm", "lb")
    return np.asarray(image)


def _draw_lines(frame: Frame, graph: VesselGraph | None) -> NDArray[np.uint8]:
    """Return the overlay of all centerlines, each in the colour of its tree."""
    canvas, draw = _canvas(frame)
    if graph is not None:
        pixels = frame.to_pixel(graph.path_position) * _OVERLAY_SCALE
        colours = colour_of_edge(graph) + 1
        for edge in range(graph.n_edges):
            line = pixels[graph.path_offset[edge] : graph.path_offset[edge + 1]]
            draw.line(line.ravel().tolist(), fill=int(colours[edge]), width=_OVERLAY_SCALE, joint=None)
    return np.array(canvas)


def _draw_cut(frame: Frame, dense: VesselGraph | None, position: float) -> NDArray[np.uint8]:
    """Return the overlay of one plane: outlines of the vessels it cuts, centerlines that run within 1 mm of it.

    ``dense`` has path points so close that the balls around them look like a tube.
    """
    canvas, draw = _canvas(frame)
    overlay = np.array(canvas)
    if dense is None:
        return overlay
    away = np.abs(dense.path_position[:, frame.view.depth] - position)
    colours = colour_of_edge(dense)[dense.edge_of_point] + 1
    pixels = frame.to_pixel(dense.path_position) * _OVERLAY_SCALE
    reach = np.sqrt(np.maximum(dense.path_radius**2 - away**2, 0.0)) * _OVERLAY_SCALE / frame.step
    is_cut = away < np.nan_to_num(dense.path_radius, nan=0.0)
    for colour in np.unique(colours[is_cut]):
        chosen = is_cut & (colours == colour)
        overlay[_disc_outline(canvas.size, pixels[chosen], np.maximum(reach[chosen], 1.0))] = colour
    near = away <= 1.0
    for (x, y), colour in zip(pixels[near].tolist(), colours[near].tolist(), strict=True):
        draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=colour)
    dots = np.asarray(canvas)
    return np.where(dots > 0, dots, overlay)


def _disc_outline(size: tuple[int, int], centre: FloatArray, radius: FloatArray) -> NDArray[np.bool_]:
    """Return a ring of two pixels around the union of discs."""
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    for grown, value in ((2.0, 1), (0.0, 0)):
        for (x, y), r in zip(centre.tolist(), (radius + grown).tolist(), strict=True):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=value)
    return np.asarray(image) > 0


def _canvas(frame: Frame) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    width, height = frame.size
    image = Image.new("L", (width * _OVERLAY_SCALE, height * _OVERLAY_SCALE))
    return image, ImageDraw.Draw(image)
