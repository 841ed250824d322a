"""The named vessels: portal trunk, cava, aorta and the first branches in the liver, as straight segments.

Positions are those of a typical adult in the frame of the body (mm), moved at random per seed; variants are drawn as often as
they are seen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import StudyConfig
from vesselgraph.phantom.study.body import Body
from vesselgraph.phantom.study.field import distances
from vesselgraph.phantom.study.growth import IntArray
from vesselgraph.space import FloatArray

Point = tuple[float, float, float]


class Backbone(NamedTuple):
    """The nodes a tree starts with, parents first.

    Parameters
    ----------
    position : (n, 3) mm
    parent : (n,)
    radius : (n,) mm
        Given radius of the segment that ends at the node; NaN: by Murray's law.
    open : (n,) bool
        Whether branches may grow from that segment.
    hilum : int
        The node at the gate of the liver.
    """

    position: FloatArray
    parent: IntArray
    radius: FloatArray
    open: NDArray[np.bool_]
    hilum: int


class _Nodes:
    """Collects nodes by name."""

    def __init__(self, body: Body, wild: float, rng: np.random.Generator) -> None:
        self.body, self.wild, self.rng = body, wild, rng
        self.names: dict[str, int] = {}
        self.position: list[FloatArray] = []
        self.parent: list[int] = []
        self.radius: list[float] = []
        self.open: list[bool] = []

    def add(
        self, name: str, above: str, at: Point, radius: float = np.nan, *, inside: bool = False, jitter: float = 3.0
    ) -> None:
        """Add a node; ``inside`` moves it into the liver if it is not there, and lets branches grow from its segment."""
        point = self.body.scale * (np.array(at) + self.rng.normal(0.0, jitter * self.wild, 3))
        if inside:
            point = self._pulled(point)
        self.names[name] = len(self.position)
        self.position.append(point)
        self.parent.append(self.names[above] if above else -1)
        self.radius.append(radius * self.body.scale)
        self.open.append(inside)

    def spread(self, above: str, ends: tuple[Point, ...], radius: float) -> None:
        """Add thin side branches at a node that end near the given points, each forked once."""
        for n, end in enumerate(ends):
            name = f"{above}-side{n}"
            self.add(name, above, end, radius * self.rng.uniform(0.7, 1.2), jitter=8.0)
            start = self.position[self.names[above]] / self.body.scale
            for m in range(2):
                way = (np.array(end) - start) * 0.5 + self.rng.normal(0.0, 10.0, 3)
                x, y, z = np.array(end) + way
                self.add(f"{name}-{m}", name, (x, y, z), radius * self.rng.uniform(0.45, 0.8), jitter=3.0)

    def _pulled(self, point: FloatArray) -> FloatArray:
        """Return the first point on the way to the middle of the liver that is deep enough."""
        middle = self.body.scale * np.array([-58.0, -12.0, 0.0])
        way = point + np.linspace(0.0, 1.0, 60)[:, None] * (middle - point)
        deep = distances(self.body.organ, way) < -7.0
        return np.asarray(way[int(deep.argmax())] if deep.any() else point)

    def done(self, hilum: str) -> Backbone:
        return Backbone(
            np.array(self.position),
            np.array(self.parent, dtype=np.int64),
            np.array(self.radius),
            np.array(self.open),
            self.names[hilum],
        )


def portal_backbone(body: Body, config: StudyConfig, rng: np.random.Generator) -> Backbone:
    """Return mesenteric and splenic vein, the trunk, and the portal branches of the segments."""
    nodes = _Nodes(body, config.shape_variation, rng)
    wide = config.tip_radius * config.n_portal_tips ** (1.0 / config.murray_exponent)
    nodes.add("root", "", (8.0, -36.0, -200.0), jitter=2.0)
    nodes.add("low", "root", (6.0, -36.0, -120.0), 0.75 * wide)
    nodes.add("confluence", "low", (-6.0, -30.0, -62.0), 0.8 * wide)
    nodes.add("splenic1", "confluence", (24.0, -28.0, -50.0), 0.7 * wide)
    nodes.add("splenic2", "splenic1", (60.0, 4.0, -26.0), 0.65 * wide, jitter=6.0)
    nodes.add("splenic3", "splenic2", (82.0, 30.0, 2.0), 0.55 * wide, jitter=5.0)
    nodes.spread("splenic3", ((100.0, 34.0, 22.0), (102.0, 40.0, 2.0), (98.0, 30.0, -14.0)), 0.3 * wide)
    nodes.spread("low", ((40.0, -60.0, -120.0), (-30.0, -62.0, -140.0), (60.0, -30.0, -100.0)), 0.35 * wide)
    nodes.spread("confluence", ((40.0, -66.0, -96.0), (-40.0, -56.0, -104.0), (34.0, -38.0, -8.0)), 0.3 * wide)
    nodes.add("trunk", "confluence", (-18.0, -25.0, -44.0), 1.1 * wide)
    nodes.add("hilum", "trunk", (-30.0, -15.0, -25.0), 1.05 * wide)
    right = "hilum"
    if rng.random() < 0.75:
        nodes.add("right", "hilum", (-50.0, -8.0, -18.0), inside=True)
        right = "right"
    nodes.add("anterior", right, (-66.0, -22.0, -4.0), inside=True)
    nodes.add("VIII", "anterior", (-76.0, -20.0, 34.0), inside=True, jitter=7.0)
    nodes.add("V", "anterior", (-84.0, -40.0, -34.0), inside=True, jitter=7.0)
    nodes.add("posterior", right, (-70.0, 12.0, -24.0), inside=True)
    nodes.add("VI", "posterior", (-92.0, 26.0, -44.0), inside=True, jitter=7.0)
    nodes.add("VII", "posterior", (-86.0, 28.0, 16.0), inside=True, jitter=7.0)
    nodes.add("left", "hilum", (-20.0, -26.0, -12.0), inside=True, jitter=2.0)
    nodes.add("umbilical", "left", (-6.0, -40.0, 0.0), inside=True)
    nodes.add("II", "umbilical", (26.0, -40.0, 16.0), inside=True, jitter=5.0)
    nodes.add("umbilical2", "umbilical", (-6.0, -54.0, 8.0), inside=True)
    nodes.add("III", "umbilical2", (28.0, -58.0, 10.0), inside=True, jitter=5.0)
    nodes.add("IV", "umbilical2", (-28.0, -54.0, 4.0), inside=True, jitter=5.0)
    return nodes.done("hilum")


def hepatic_backbone(body: Body, config: StudyConfig, rng: np.random.Generator) -> Backbone:
    """Return the cava with the renal veins, and right, middle and left hepatic vein."""
    nodes = _Nodes(body, config.shape_variation, rng)
    cava = rng.uniform(8.5, 12.0)
    nodes.add("atrium", "", (-12.0, -12.0, 112.0), jitter=2.0)
    nodes.add("top", "atrium", (-20.0, -4.0, 76.0), 1.1 * cava, jitter=1.5)
    nodes.add("middle-ostium", "top", (-24.0, 3.0, 54.0), 1.05 * cava, jitter=1.0)
    nodes.add("right-ostium", "middle-ostium", (-24.0, 5.0, 47.0), cava, jitter=0.5)
    nodes.add("low-ostium", "right-ostium", (-24.0, 6.0, -12.0), 0.95 * cava, jitter=1.0)
    nodes.add("renal", "low-ostium", (-22.0, 6.0, -66.0), 0.95 * cava, jitter=1.0)
    nodes.add("bottom", "renal", (-20.0, 8.0, -220.0), 0.85 * cava, jitter=2.0)
    nodes.add("left-renal1", "renal", (10.0, -8.0, -60.0), 4.0, jitter=1.0)
    nodes.add("left-renal2", "left-renal1", (46.0, 38.0, -48.0), 3.6)
    nodes.add("right-renal", "renal", (-46.0, 42.0, -82.0), 4.0)
    nodes.spread("left-renal2", ((60.0, 46.0, -30.0), (60.0, 48.0, -62.0)), 2.0)
    nodes.spread("right-renal", ((-60.0, 50.0, -70.0), (-60.0, 50.0, -98.0)), 2.0)
    nodes.add("right1", "right-ostium", (-52.0, 8.0, 40.0), inside=True)
    nodes.add("right2", "right1", (-80.0, 12.0, 12.0), inside=True, jitter=5.0)
    nodes.add("right3", "right2", (-94.0, 12.0, -28.0), inside=True, jitter=6.0)
    left = "middle-ostium"
    if rng.random() < 0.7:
        nodes.add("common", "middle-ostium", (-25.0, -9.0, 50.0), inside=True, jitter=1.0)
        left = "common"
    nodes.add("middle1", left, (-38.0, -26.0, 36.0), inside=True)
    nodes.add("middle2", "middle1", (-46.0, -40.0, 10.0), inside=True, jitter=5.0)
    nodes.add("middle3", "middle2", (-54.0, -48.0, -22.0), inside=True, jitter=6.0)
    nodes.add("left1", left, (0.0, -32.0, 38.0), inside=True)
    nodes.add("left2", "left1", (26.0, -50.0, 26.0), inside=True, jitter=5.0)
    if rng.random() < 0.3:
        nodes.add("inferior", "low-ostium", (-60.0, 18.0, -26.0), inside=True, jitter=5.0)
    return nodes.done("right-ostium")


def systemic_backbone(body: Body, config: StudyConfig, hilum: FloatArray, rng: np.random.Generator) -> Backbone:
    """Return the aorta with celiac, splenic, mesenteric and renal arteries and the hepatic artery up to ``hilum``."""
    nodes = _Nodes(body, config.shape_variation, rng)
    wide = rng.uniform(8.5, 12.0)
    proper = config.artery_ratio * 6.0 + 0.3
    nodes.add("top", "", (16.0, 22.0, 200.0), jitter=1.0)
    nodes.add("chest", "top", (14.0, 16.0, 40.0), wide, jitter=1.0)
    nodes.add("celiac", "chest", (11.0, 10.0, -24.0), wide, jitter=1.0)
    nodes.add("mesenteric", "celiac", (10.0, 9.0, -38.0), wide, jitter=0.5)
    nodes.add("renal", "mesenteric", (9.0, 9.0, -54.0), 0.95 * wide, jitter=0.5)
    nodes.add("bottom", "renal", (8.0, 10.0, -220.0), 0.85 * wide, jitter=1.5)
    nodes.add("celiac2", "celiac", (8.0, -12.0, -28.0), 3.4, jitter=1.5)
    nodes.add("common1", "celiac2", (-8.0, -26.0, -36.0), 2.4, jitter=1.5)
    nodes.add("common2", "common1", (-20.0, -34.0, -40.0), proper, jitter=1.5)
    nodes.add("proper", "common2", (0.0, 0.0, 0.0), proper)
    nodes.position[-1] = hilum
    nodes.add("duodenal", "common2", (-18.0, -42.0, -84.0), 1.5)
    nodes.add("splenic1", "celiac2", (34.0, 0.0, -22.0), 2.6, jitter=5.0)
    nodes.add("splenic2", "splenic1", (58.0, 12.0, -20.0), 2.4, jitter=7.0)
    nodes.add("splenic3", "splenic2", (82.0, 28.0, 8.0), 2.0, jitter=6.0)
    nodes.add("gastric", "celiac2", (36.0, -18.0, 10.0), 1.4, jitter=5.0)
    nodes.add("mesenteric2", "mesenteric", (10.0, -20.0, -66.0), 3.3, jitter=1.5)
    nodes.add("mesenteric3", "mesenteric2", (14.0, -34.0, -200.0), 2.8, jitter=4.0)
    nodes.add("left-renal", "renal", (46.0, 44.0, -50.0), 2.4)
    nodes.add("right-renal", "renal", (-46.0, 48.0, -84.0), 2.4)
    nodes.spread("left-renal", ((60.0, 44.0, -34.0), (60.0, 46.0, -66.0)), 1.3)
    nodes.spread("right-renal", ((-60.0, 48.0, -72.0), (-60.0, 50.0, -100.0)), 1.3)
    nodes.spread("splenic3", ((100.0, 34.0, 26.0), (102.0, 42.0, 6.0), (98.0, 30.0, -10.0)), 1.1)
    nodes.spread("mesenteric2", ((44.0, -58.0, -100.0), (50.0, -50.0, -130.0), (-40.0, -56.0, -120.0)), 1.2)
    return nodes.done("proper")
