"""Pictures of images and graphs: slices and maximum-intensity projections, world-true and in radiological convention."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from vesselgraph.graph import VesselGraph
from vesselgraph.io.atomic import atomic_path
from vesselgraph.report.columns import densified, tree_of_edge
from vesselgraph.report.palette import TREE_COLOURS, rgb, tree_colour_index
from vesselgraph.report.views import VIEWS, Frame, ViewName, project_box, sample_box, sample_plane
from vesselgraph.resampling import resample_like
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume

Window = tuple[float, float]

# Overlays are drawn at twice the picture's resolution: thin lines stay smooth on any screen.
_OVERLAY_SCALE = 2
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
        return _base64(self._overlay_image(), format="PNG", optimize=True, transparency=0, bits=4)

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

    The bulk (1st to 99th percentile) of the region's values fills the middle of the window. Without a region, or if it is the
    whole image, CT (values below -500) counts only soft tissue, -150 to 350. Vessel values under the graph stay below white.
    NaN is left out; a constant image gets a window of width 1.
    """
    values = _reference_values(image, region)
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (1.0, 99.0)))
    width = max(high - low, 1e-6)
    low, high = low - 0.5 * width, high + 0.25 * width
    if graph is not None and graph.n_points:
        inside = _values_at(image, graph.path_position)
        if inside.size:
            high = max(high, float(np.percentile(inside, 95.0)) + 0.1 * width)
    return (low, high) if high - low > 1e-3 else (low - 0.5, low + 0.5)


def _reference_values(image: Volume, region: Volume | None) -> NDArray[np.float32]:
    thin = tuple(slice(None, None, max(1, n // 160)) for n in image.shape)
    values = image.array[thin].astype(np.float32)
    usable = np.isfinite(values)
    if region is not None and region.shape == image.shape and region.array.any() and not region.array.all():
        chosen = values[usable & region.array[thin].astype(bool)]
        if chosen.size > 100:
            return chosen
    is_ct = bool(usable.any()) and float(values[usable].min()) < -500.0
    soft = usable & (values > -150.0) & (values < 350.0) if is_ct else usable
    return values[soft] if soft.any() else values[usable]


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
    frame = _frame(view, image.bounds if box is None else box, size)
    depth = frame.view.depth
    place = float(frame.box[:, depth].mean()) if position is None else float(position)
    grey = _to_grey(sample_plane(image, frame, place), window or display_window(image, graph=graph))
    overlay = _draw_cut(frame, graph, place)
    return Picture(_annotated(grey, frame), overlay, f"{view} slice at {'xyz'[depth]} = {place:.1f} mm")


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
        The 2nd to 99.7th percentile of the picture if left out.
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
    window: Window | None = None,
    size: int = 480,
) -> dict[ViewName, Picture]:
    """Return :func:`render_mip` of several views; the box is resampled once for all of them."""
    values = sample_box(_finite(image), box)
    if region is not None and region.array.any():
        mask = resample_like(region, values, interpolation="nearest", fill=0.0).array
        values = values.with_array(np.where(mask, values.array, np.float32(-np.inf)))
    result: dict[ViewName, Picture] = {}
    for view in views:
        frame = _frame(view, box, size)
        projected = project_box(values, frame.view)
        used = projected[np.isfinite(projected)]
        limits = window or _mip_window(used)
        grey = _to_grey(projected, limits)
        scaled = np.asarray(Image.fromarray(grey).resize(frame.size, Image.Resampling.BICUBIC))
        caption = f"{view} maximum-intensity projection"
        result[view] = Picture(_annotated(scaled, frame), _draw_lines(frame, graph), caption)
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


def _mip_window(values: NDArray[np.float32]) -> Window:
    if values.size == 0:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, (2.0, 99.7)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _to_grey(values: NDArray[np.float32], window: Window) -> NDArray[np.uint8]:
    low, high = window
    scaled = np.nan_to_num((values - low) / max(high - low, 1e-12), nan=0.0, posinf=1.0, neginf=0.0)
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
        colours = tree_colour_index(tree_of_edge(graph)) + 1
        for edge in range(graph.n_edges):
            line = pixels[graph.path_offset[edge] : graph.path_offset[edge + 1]]
            draw.line(line.ravel().tolist(), fill=int(colours[edge]), width=_OVERLAY_SCALE, joint=None)
    return np.array(canvas)


def _draw_cut(frame: Frame, graph: VesselGraph | None, position: float) -> NDArray[np.uint8]:
    """Return the overlay of one plane: outlines of the vessels it cuts, centerlines that run within 1 mm of it."""
    canvas, draw = _canvas(frame)
    if graph is None or graph.n_points == 0:
        return np.array(canvas)
    points, radius, edge = densified(graph, 0.5)
    away = np.abs(points[:, frame.view.depth] - position)
    colours = tree_colour_index(tree_of_edge(graph))[edge]
    cut = away < np.nan_to_num(radius, nan=0.0)
    pixels = frame.to_pixel(points) * _OVERLAY_SCALE
    reach = np.sqrt(np.maximum(radius**2 - away**2, 0.0)) * _OVERLAY_SCALE / frame.step
    outline = np.zeros((canvas.height, canvas.width), np.uint8)
    for colour in np.unique(colours[cut]):
        chosen = cut & (colours == colour)
        outline[_disc_outline(canvas.size, pixels[chosen], reach[chosen])] = colour + 1
    near = away <= 1.0
    for (x, y), colour in zip(pixels[near], colours[near], strict=True):
        draw.rectangle((x - 1, y - 1, x + 1, y + 1), fill=int(colour) + 1)
    dots = np.array(canvas)
    return np.where(dots > 0, dots, outline)


def _disc_outline(size: tuple[int, int], centre: FloatArray, radius: FloatArray) -> NDArray[np.bool_]:
    filled = Image.new("L", size)
    draw = ImageDraw.Draw(filled)
    for (x, y), r in zip(centre, np.maximum(radius, 1.5), strict=True):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    grown = filled.filter(ImageFilter.MaxFilter(5))
    return (np.asarray(grown) > 0) & (np.asarray(filled) == 0)


def _canvas(frame: Frame) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    width, height = frame.size
    image = Image.new("L", (width * _OVERLAY_SCALE, height * _OVERLAY_SCALE))
    return image, ImageDraw.Draw(image)
