"""One seeded call from a configuration to a multi-phase CT and its truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vesselgraph.config import PhaseLook, StudyConfig
from vesselgraph.errors import ConfigError
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.phantom.study import scanner
from vesselgraph.phantom.study.body import Body, make_body
from vesselgraph.phantom.study.phases import ROUGHNESS, compose, tissue_values
from vesselgraph.phantom.study.tissue import TissueMap, paint_tissue
from vesselgraph.phantom.study.trees import Vessels, make_vessels
from vesselgraph.phantom.study.truth import truth_graph
from vesselgraph.phantom.study.vessels import vessel_mask, vessel_share
from vesselgraph.phantom.study.visibility import with_visibility
from vesselgraph.progress import Progress, silent
from vesselgraph.space import Space
from vesselgraph.volume import PhaseSet, Volume

Image = NDArray[np.float32]

GENERATOR = 5
"""Raised when the generator gives other bytes for the same configuration, so that what was kept from earlier is not used."""

_KNOWN = ("native", "arterial", "portal", "delayed")
# Random streams: what is drawn in one never shifts what is drawn in another.
_BODY, _VESSELS, _TEXTURE, _TISSUE, _MOTION, _NOISE = range(6)
# Vessels are sampled at least this finely across planes before the slice profile, mm.
_FINEST = 1.0


@dataclass(frozen=True, eq=False)
class Study:
    """A generated multi-phase CT with its exact truth; all volumes lie on one grid.

    Parameters
    ----------
    config : StudyConfig
        What it was made from.
    phases : PhaseSet
        int16 HU by phase name, the reference first.
    graph : VesselGraph
        Centerlines and radii of all vessels in the grid, directed away from the root. Columns: node ``tree``, ``root``; edge
        ``tree`` (1 portal, 2 hepatic, 3 artery, 0 other), ``in_organ_fraction``, ``visibility`` (contrast to noise of the best
        phase, see :mod:`vesselgraph.phantom.study.visibility`) and ``visibility_<phase>``.
    organ_mask : Volume
        bool: the liver, vessels and lesions included.
    vessel_masks : mapping of tree name to Volume
        bool: voxels whose centre lies in a vessel of that tree or that its centerline passes.
    motions : mapping of phase name to Motion
        Of the phases taken in another breath than the reference, whose place the truth has; see :meth:`graph_in`.
    """

    config: StudyConfig
    phases: PhaseSet
    graph: VesselGraph
    organ_mask: Volume
    vessel_masks: Mapping[str, Volume]
    motions: Mapping[str, scanner.Motion]

    def graph_in(self, phase: str) -> VesselGraph:
        """Return the truth where it is seen in one phase: the centerlines moved with the breath; parts may leave the grid.

        A phase that is shown alone must be learned from this graph, not from that of the reference.
        """
        if phase not in self.motions:
            return self.graph
        seen = self.motions[phase].seen_at
        return replace(self.graph, node_position=seen(self.graph.node_position), path_position=seen(self.graph.path_position))


def make_study(config: StudyConfig | None = None, *, progress: Progress = silent) -> Study:
    """Return a multi-phase CT of the liver and what lies around it, with exact truth.

    The body is built in world millimetres; the grid is a window into it. Configurations that differ only in grid, contrast,
    kernel or noise show the same patient. Equal configurations give equal bytes.

    Parameters
    ----------
    config : StudyConfig, optional
        Grid, anatomy, phases, scanner; see the fields, and :func:`sample_study_config` for random ones.
    progress : Progress
        Called with the step and its done fraction.

    Raises
    ------
    ConfigError
        A phase name or the reference is unknown.

    Examples
    --------
    >>> study = make_study(StudyConfig(shape=(32, 32, 32), n_portal_tips=60, n_hepatic_tips=60, phases=("portal",)))
    >>> list(study.phases), sorted(study.vessel_masks)
    (['portal'], ['artery', 'hepatic', 'portal'])
    """
    config = config or StudyConfig()
    names = _phase_names(config)
    space = study_grid(config)
    progress("building the body", 0.0)
    body = make_body(config, _stream(config, _BODY))
    progress("growing vessels", 0.05)
    vessels = make_vessels(config, body, _stream(config, _VESSELS))
    graph = truth_graph(vessels, space, config.shape)
    progress("painting tissue", 0.3)
    scene = _Scene(config, space, body, vessels)
    phases, clean = {}, {}
    for n, name in enumerate(names):
        progress(f"scanning {name}", 0.45 + 0.55 * n / len(names))
        clean[name] = scene.scan(name, getattr(config, name))
        phases[name] = Volume(scene.noisy(clean[name], name), space, name)
    progress("scanning", 1.0)
    places = {name: motion.seen_at(graph.path_position) for name, motion in scene.motions.items()}
    graph = with_visibility(graph, clean, places, config, body.liver)
    return Study(
        config,
        PhaseSet(phases),
        graph.with_step(Step("study", config.digest())),
        Volume(scene.organ(), space, "liver"),
        {name: Volume(mask, space, name) for name, mask in scene.masks().items()},
        scene.motions,
    )


def study_grid(config: StudyConfig) -> Space:
    """Return the axial grid of a study: its middle lies at ``config.center``."""
    spacing = np.array(config.spacing)
    z, y, x = (np.array(config.shape) - 1.0) / 2.0 * spacing
    return Space.axial(spacing, np.array(config.center) - np.array([x, y, z]))


def _stream(config: StudyConfig, *key: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, *key])


def _phase_names(config: StudyConfig) -> list[str]:
    unknown = [name for name in (*config.phases, config.reference) if name not in _KNOWN]
    if unknown or len(set(config.phases)) < len(config.phases):
        raise ConfigError(f"each phase once, of {', '.join(_KNOWN)}", f"{config.phases}, {unknown}", "set study.phases")
    return sorted(config.phases, key=lambda name: name != config.reference)


class _Scene:
    """Everything the phases share, on planes fine enough for the slice profile."""

    def __init__(self, config: StudyConfig, space: Space, body: Body, vessels: Vessels) -> None:
        self.config, self.space = config, space
        self.n_sub = max(1, int(np.ceil(config.spacing[0] / _FINEST - 1e-9)))
        self.weights = scanner.slice_weights(config, self.n_sub)
        self.pad = len(self.weights) // 2
        step = config.spacing[0] / self.n_sub
        fine = np.array([step, *config.spacing[1:]])
        planes = (config.shape[0] - 1) * self.n_sub + 1 + 2 * self.pad
        self.shape = (planes, config.shape[1], config.shape[2])
        self.fine = Space(fine, space.origin - np.array([0.0, 0.0, self.pad * step]), space.direction)
        self.tissue: TissueMap = paint_tissue(body, self.fine, self.shape)
        self.vessels = {"portal": vessels.portal, "hepatic": vessels.hepatic, "artery": vessels.artery, "duct": vessels.ducts}
        self.share = {name: vessel_share(tree, self.fine, self.shape) for name, tree in self.vessels.items()}
        rng = _stream(config, _TEXTURE)
        self.texture = scanner.tissue_texture(self.shape, fine, config.texture, config.texture_length, rng)
        self.texture += scanner.tissue_texture(self.shape, fine, config.patchiness, 14.0, rng)
        self.motions = self._moving()
        self.mixture = scanner.tissue_texture(self.shape, fine, config.mottling, 9.0, rng)
        self.texture *= compose(self.tissue, ROUGHNESS)

    def _moving(self) -> dict[str, scanner.Motion]:
        """Return the motion of each phase that was taken in another breath than the reference."""
        motions = {}
        for key, name in enumerate(_KNOWN):
            look: PhaseLook = getattr(self.config, name)
            if name in self.config.phases and name != self.config.reference and look.shift + look.residue > 0.0:
                rng = _stream(self.config, _MOTION, key)
                motions[name] = scanner.make_motion(self.fine, self.shape, look, rng)
        return motions

    def scan(self, name: str, look: PhaseLook) -> Image:
        """Return one phase without noise."""
        image = compose(self.tissue, tissue_values(look, _stream(self.config, _TISSUE)))
        image += self.texture
        blood = {"duct": 10.0, "hepatic": look.hepatic, "portal": look.portal, "artery": look.artery}
        for vessel, value in blood.items():
            blend = np.float32(value) - image
            if vessel != "duct":
                blend += self.mixture
            image += self.share[vessel] * blend
        if name in self.motions:
            image = scanner.displace(image, self.fine, self.motions[name])
        image = scanner.point_spread(image, self.config, self.fine.spacing)
        return self._slices(image)

    def _slices(self, image: Image) -> Image:
        """Return the planes of the study: the fine planes weighted by the slice profile."""
        planes = self.config.shape[0]
        result = np.zeros(self.config.shape, np.float32)
        for n, weight in enumerate(self.weights):
            result += weight * image[n : n + (planes - 1) * self.n_sub + 1 : self.n_sub]
        return result

    def noisy(self, clean: Image, name: str) -> NDArray[np.int16]:
        """Return one phase as the scanner gives it."""
        look: PhaseLook = getattr(self.config, name)
        rng = _stream(self.config, _NOISE, self.config.noise_seed, _KNOWN.index(name))
        noise = scanner.scan_noise(self.config.shape, self.config, look.noise, rng)
        noise += clean
        if self.config.streaks > 0.0:
            noise += scanner.streaks(self.config.shape, self.config, rng)
        return np.clip(np.rint(noise), -1024, 3071).astype(np.int16)

    def organ(self) -> NDArray[np.bool_]:
        """Return the liver on the grid of the study."""
        last = self.pad + (self.config.shape[0] - 1) * self.n_sub + 1
        return np.asarray(self.tissue.liver[self.pad : last : self.n_sub] < 0.0)

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Return the vessel mask of each tree on the grid of the study."""
        trees = {name: tree for name, tree in self.vessels.items() if name != "duct"}
        return {name: vessel_mask(tree, self.space, self.config.shape) for name, tree in trees.items()}
