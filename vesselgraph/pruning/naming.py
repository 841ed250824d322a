"""Names of trees: which branches of a liver are portal, which hepatic veins, which arteries.

Portal and hepatic veins look alike; what tells them apart is where they come from. The portal vein enters at the gate of the
liver, in its middle from below; the hepatic veins meet at the cava, at the top and back. Both places are stated as shares of
the organ's box along the patient's axes.

Strategy. The graph is cut into short pieces. From both places the cheapest ways to every piece are found (:mod:`.ways`): beside
climbs and turns back, a way pays for the distance between the place and the vessel it begins with, and for setting out across
that vessel. The logarithm of the two costs' ratio speaks for one name. To it are added what the heatmap network says of the
branch's surroundings, against its own mean in this image, and whether the branch is as bright as the portal or as the hepatic
veins of this image, after a first guess. One minimum cut gives the names that fit best together: a change of name costs much
along a hot branch and where a vessel goes straight on, little at a sharp side branch of another width. Arteries are named by
the network alone. Where names differ, nodes are doubled, so that trees that touch come apart.

Places, costs and weights were chosen on generated livers (seeds 400000 and up).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.edit import merge_degree_two, split_edges
from vesselgraph.graph import IntArray, VesselGraph
from vesselgraph.polyline import mean_along, range_along
from vesselgraph.pruning.contacts import doubled
from vesselgraph.pruning.links import Links, best_labels, smoothed
from vesselgraph.pruning.surroundings import sample
from vesselgraph.pruning.ways import WayCosts, Ways, median_radius
from vesselgraph.space import FloatArray
from vesselgraph.volume import Heatmap, Volume

UNKNOWN, PORTAL, HEPATIC, ARTERY = range(4)
"""Values of the edge column ``tree``."""

TREE_NAMES = {PORTAL: "portal", HEPATIC: "hepatic", ARTERY: "artery"}
"""What they are called in tables and file names."""

LEAST_CONFIDENCE = 0.6
"""A branch whose name is less sure than this has none."""

# Pieces have one direction and one radius, mm.
_PIECE = 6.0
# Where the trees come in, in shares of the organ's box (x to the left, y to the back, z up): the portal vein along a line at
# the gate, from its right to its left branch; right, middle and left hepatic vein.
_GATE = np.linspace((0.42, 0.48, 0.40), (0.56, 0.42, 0.44), 5)
_OSTIA = np.array([[0.45, 0.58, 0.87], [0.52, 0.50, 0.90], [0.58, 0.50, 0.92]])
# The box leaves out this share of the organ at every side; this many voxels tell it.
_OUTSIDE, _N_VOXELS = 0.01, 200_000
_COSTS = WayCosts(length=0.25, climb=500.0, free_climb=1.2, turn=120.0, free_turn=0.5)
# To begin a way costs so much per mm from the place, for setting out across the line from it, and in the middle of a vessel
# farther than 10 mm away. Nearer than 8 mm every direction is right.
_JUMP, _AIM, _INNER = 2.5, 150.0, 20.0
_INNER_AT, _ANY_WAY = 10.0, 8.0
# A liver that the image cuts off must show this much along every axis, mm.
_SLAB = 80.0
# Costs are compared above this one, mm.
_SURE = 30.0
# Weights of brightness and of the network beside the ways, and the mm along the graph that they are evened out over.
_BRIGHTNESS, _NETWORK = 0.8, 0.2
_BRIGHT_REACH, _SAID_REACH, _ARTERY_REACH = 15.0, 50.0, 4.0
_LEAST_SPREAD = 0.3
# What a piece earns by its name at most, per mm; what a change of name costs along a branch and straight on through a fork, mm.
_MOST = 0.5
_ALONG, _THROUGH, _ANYWHERE = 8.0, 20.0, 0.3
_HOT, _ANGLE, _KINK = 0.5, 0.4, 0.5
# How sure a name is: the logit of a piece that speaks for neither, how much it rises per unit of gain, evened out along pieces
# of its name over so many mm; and how sure the name of an artery is. Calibrated on generated livers.
_AT_NONE, _PER_MARGIN, _SURE_REACH, _OF_ARTERY = 0.35, 4.6, 10.0, 0.9
# Odds are cut to those of this probability.
_LEAST = 1e-3


def can_name(organ: Volume, heatmap: Heatmap) -> bool:
    """Return whether trees can be named: by the heat of a network, in an organ of which the image shows more than a slab.

    A slab is an organ that touches the border of its grid and whose box is less than 80 mm along one of the patient's axes.
    """
    if heatmap.identity is None or not organ.array.any():
        return False
    inside = organ.array.astype(np.bool_)
    faces = [np.take(inside, end, axis=axis) for axis in range(3) for end in (0, -1)]
    box = organ_box(organ)
    return not any(face.any() for face in faces) or bool((box[1] - box[0] >= _SLAB).all())


def name_trees(graph: VesselGraph, organ: Volume, heatmap: Heatmap) -> VesselGraph:
    """Return the graph with the name of its tree on every branch, trees of different names taken apart where they touch.

    Parameters
    ----------
    graph : VesselGraph
        Believed branches of a liver, joined where nothing forks, with radii and the path column ``heat``; ``contrast`` is used
        if there is one.
    organ : Volume
        bool: the whole liver; places are taken from its box. Of a part of a liver names are less sure.
    heatmap : Heatmap
        Of a network, with its identity.

    Returns
    -------
    graph : VesselGraph
        The same paths, cut where a name changes. Edge columns ``tree`` (1 portal, 2 hepatic, 3 artery, 0 not known) and
        ``tree_confidence`` (0 to 1). Node column ``contact`` (bool): an end or fork of one tree where it touched another.
    """
    if graph.n_edges == 0:
        nothing = {"tree": np.zeros(0, np.int64), "tree_confidence": np.zeros(0)}
        return graph.with_columns(node={"contact": np.zeros(graph.n_nodes, np.bool_)}, edge=nothing)
    assert heatmap.identity is not None
    probability = np.clip(sample(heatmap.identity, heatmap.heat, graph.path_position), _LEAST, 1.0 - _LEAST)
    return named_by(graph, np.log(probability / (1.0 - probability)), organ_box(organ))


def named_by(graph: VesselGraph, odds: FloatArray, box: FloatArray) -> VesselGraph:
    """Return what :func:`name_trees` does, given the logits of the network (M, 3) at every path point and the organ's box."""
    tree, confidence, pieces = decide_names(graph, odds, box)
    named = doubled(pieces.with_columns(edge={"tree": tree, "tree_confidence": confidence}), tree)
    merged, _ = merge_degree_two(named)
    clear = merged.edge_data["tree_confidence"] >= LEAST_CONFIDENCE
    return merged.with_columns(edge={"tree": np.where(clear, merged.edge_data["tree"], UNKNOWN)})


def organ_box(organ: Volume) -> FloatArray:
    """Return the lowest and highest corner of an organ along the patient's axes, (2, 3) world mm, a hundredth left out."""
    inside = np.flatnonzero(organ.array)
    chosen = inside[:: max(1, len(inside) // _N_VOXELS)]
    index = np.stack(np.unravel_index(chosen, organ.shape), axis=1).astype(np.float64)
    return np.quantile(organ.space.to_world(index), (_OUTSIDE, 1.0 - _OUTSIDE), axis=0)


def decide_names(graph: VesselGraph, odds: FloatArray, box: FloatArray) -> tuple[IntArray, FloatArray, VesselGraph]:
    """Return the name of every piece, (P,), how sure it is, (P,), and the pieces.

    Parameters
    ----------
    graph : VesselGraph
        As of :func:`name_trees`.
    odds : (M, 3)
        Logits of the network for each tree at every path point.
    box : (2, 3)
        Of the organ, mm.
    """
    named = {f"odds_{k}": odds[:, k] for k in range(odds.shape[1])}
    pieces, _ = split_edges(graph.with_columns(path=named), max_length=_PIECE)
    said = np.stack([_mean(pieces, name) for name in named], axis=1)
    path = {name: column for name, column in pieces.path_data.items() if name not in named}
    pieces = replace(pieces, path_data=path)
    radius, length = median_radius(pieces), pieces.edge_length
    ways = Ways.of(pieces, radius)
    links = Links.of(ways)
    origin, size = box[0], box[1] - box[0]
    portal, hepatic = (_way_cost(pieces, ways, origin + place * size) for place in (_GATE, _OSTIA))
    score = np.log((portal + _SURE) / (hepatic + _SURE))
    score = score + _BRIGHTNESS * _like_hepatic(pieces, links, radius, score)
    score = score - _NETWORK * smoothed(_standard(said[:, 0] - said[:, 1], length), length, links, _SAID_REACH)
    cost = _change_cost(pieces, links, radius)
    gain = np.clip(score, -_MOST, _MOST)
    is_hepatic = best_labels(gain * length, links, cost)
    tree = np.where(is_hepatic, HEPATIC, PORTAL)
    is_artery = smoothed(said[:, 2], length, links, _ARTERY_REACH) > 0.0
    margin = np.where(is_hepatic, 1.0, -1.0) * _within_names(gain, length, links, is_hepatic)
    confidence = 1.0 / (1.0 + np.exp(-_AT_NONE - _PER_MARGIN * margin))
    return np.where(is_artery, ARTERY, tree), np.where(is_artery, _OF_ARTERY, confidence), pieces


def _within_names(gain: FloatArray, length: FloatArray, links: Links, label: NDArray[np.bool_]) -> FloatArray:
    """Return the gain of each piece evened out along pieces of its name, (P,)."""
    same = label[links.first] == label[links.second]
    inner = Links(links.first[same], links.second[same], links.cosine[same], links.is_fork[same])
    return smoothed(gain, length, inner, _SURE_REACH)


def _mean(pieces: VesselGraph, name: str) -> FloatArray:
    return mean_along(pieces.path_data[name], pieces.path_position, pieces.path_offset)


def _way_cost(pieces: VesselGraph, ways: Ways, places: FloatArray) -> FloatArray:
    """Return what the cheapest way to each piece from the nearest of the places costs, (P,) mm."""
    begin = pieces.node_position[pieces.edge_nodes.ravel()]
    apart = begin[:, None] - places[None]
    distance = np.linalg.norm(apart, axis=2)
    rows, nearest = np.arange(len(begin)), distance.argmin(axis=1)
    away, distance = apart[rows, nearest], distance[rows, nearest]
    cosine = np.einsum("ij,ij->i", ways.direction, away) / np.maximum(distance, 1e-9)
    cosine = np.where(distance < _ANY_WAY, 1.0, cosine)
    is_inner = pieces.degree[pieces.edge_nodes.ravel()] > 1
    start = _JUMP * distance + _AIM * (1.0 - cosine) + _INNER * is_inner * np.minimum(distance / _INNER_AT, 1.0)
    return ways.cheapest(start, _COSTS)[0]


def _standard(values: FloatArray, length: FloatArray) -> FloatArray:
    """Return values less their mean, over their deviation, both by length."""
    middle = np.average(values, weights=length)
    spread = float(np.sqrt(np.average((values - middle) ** 2, weights=length)))
    return np.asarray((values - middle) / max(spread, _LEAST_SPREAD))


def _like_hepatic(pieces: VesselGraph, links: Links, radius: FloatArray, score: FloatArray) -> FloatArray:
    """Return how much the brightness of each piece speaks for hepatic veins, (P,), given a first guess; 0 without an image."""
    if "contrast" not in pieces.path_data:
        return np.zeros(pieces.n_edges)
    length, width = pieces.edge_length, np.log(radius)
    # Wide vessels are brighter: what counts is the brightness beyond that of their width.
    ground = np.stack([np.ones_like(width), width], axis=1)
    root = np.sqrt(length)
    contrast = _mean(pieces, "contrast")
    beyond = contrast - ground @ np.linalg.lstsq(ground * root[:, None], contrast * root, rcond=None)[0]
    beyond = _standard(beyond, length)
    share = 0.5 + 0.5 * np.tanh(2.0 * score)
    hepatic = np.average(beyond, weights=length * share + 1e-6)
    portal = np.average(beyond, weights=length * (1.0 - share) + 1e-6)
    like = (beyond - 0.5 * (portal + hepatic)) * (hepatic - portal)
    return smoothed(like, length, links, _BRIGHT_REACH)


def _change_cost(pieces: VesselGraph, links: Links, radius: FloatArray) -> FloatArray:
    """Return what it costs that linked pieces have different names, (K,) mm."""
    coldest = range_along(pieces.path_data["heat"], pieces.path_offset)[0]
    warm = np.minimum(np.minimum(coldest[links.first], coldest[links.second]) / _HOT, 1.0)
    along = _ALONG * warm * np.exp(-np.maximum(_KINK - links.cosine, 0.0))
    wider = np.abs(np.log(radius[links.first] / radius[links.second]))
    through = _THROUGH * np.exp((links.cosine - 1.0) / _ANGLE - wider) + _ANYWHERE
    return np.where(links.is_fork, through, along)
