"""Random studies: one configuration drawn from ranges."""

from __future__ import annotations

import numpy as np

from vesselgraph.config import PhaseLook, StudyConfig, StudyRanges

Range = tuple[float, float]


def sample_study_config(seed: int, ranges: StudyRanges | None = None) -> StudyConfig:
    """Return the study of a seed: every setting drawn from its range, blood and organs in a plausible relation.

    Examples
    --------
    >>> sample_study_config(1) == sample_study_config(1), sample_study_config(1) == sample_study_config(2)
    (True, False)
    """
    ranges = ranges or StudyRanges()
    rng = np.random.default_rng([seed, 7])

    def draw(limits: Range) -> float:
        return float(np.round(rng.uniform(*limits), 4))

    def whole(limits: tuple[int, int]) -> int:
        return int(rng.integers(limits[0], limits[1] + 1))

    thickness = float(np.round(np.exp(rng.uniform(*np.log(ranges.slice_thickness))), 3))
    in_plane = draw(ranges.in_plane_spacing)
    plane = float(np.round(thickness * draw(ranges.overlap), 3))
    extent = np.array(ranges.shape, dtype=np.float64)
    shape = tuple(int(n) for n in np.maximum(2, np.round(extent / (plane, in_plane, in_plane))))
    noise = float(np.round(np.exp(rng.uniform(*np.log(ranges.noise))), 3))
    return StudyConfig(
        shape=(shape[0], shape[1], shape[2]),
        spacing=(plane, in_plane, in_plane),
        slice_thickness=thickness,
        center=(draw(ranges.center_x), draw(ranges.center_y), draw(ranges.center_z)),
        seed=seed,
        body_scale=draw(ranges.body_scale),
        fat=draw(ranges.fat),
        n_portal_tips=whole(ranges.n_portal_tips),
        n_hepatic_tips=whole(ranges.n_hepatic_tips),
        tip_radius=draw(ranges.tip_radius),
        murray_exponent=draw(ranges.murray_exponent),
        curvature=draw(ranges.curvature),
        min_clearance=draw(ranges.min_clearance),
        artery_ratio=draw(ranges.artery_ratio),
        duct_ratio=draw(ranges.wide_duct_ratio) if rng.random() < ranges.wide_ducts_fraction else draw(ranges.duct_ratio),
        n_lesions=whole(ranges.n_lesions),
        n_cysts=whole(ranges.n_cysts),
        lesion_radius=draw(ranges.lesion_radius),
        n_spots=whole(ranges.n_spots),
        fissure=draw(ranges.fissure),
        mottling=draw(ranges.mottling),
        texture=draw(ranges.texture),
        texture_length=draw(ranges.texture_length),
        patchiness=draw(ranges.patchiness),
        blur=draw(ranges.blur),
        sharpness=draw(ranges.sharpness),
        noise_length=draw(ranges.noise_length),
        noise_ramp=draw(ranges.noise_ramp),
        noise_aspect=draw(ranges.noise_aspect),
        streaks=draw(ranges.streaks) if rng.random() < ranges.streaks_fraction else 0.0,
        **_looks(ranges, noise, draw),
    )


def _looks(ranges: StudyRanges, noise: float, draw: object) -> dict[str, PhaseLook]:
    """Return the look of each phase: enhancement on top of the native liver and blood."""
    assert callable(draw)
    moves = float(draw((0.0, 1.0)) < ranges.motion_fraction)
    liver, blood = draw(ranges.native_liver), draw(ranges.native_blood)

    def look(uptake: float, portal: float, hepatic: float, artery: float, spleen: float, kidney: float) -> PhaseLook:
        return PhaseLook(
            liver=liver + uptake,
            portal=blood + portal,
            hepatic=blood + hepatic,
            artery=blood + artery,
            spleen=48.0 + spleen,
            kidney=34.0 + kidney,
            shift=moves * draw(ranges.shift),
            residue=moves * draw(ranges.residue),
            noise=noise * draw((0.85, 1.15)),
        )

    early = draw((0.0, 1.0))
    uptake, boost = draw(ranges.liver_uptake), draw(ranges.portal_contrast)
    vein = liver + uptake + boost - blood
    late = draw((0.3, 0.7))
    return {
        "native": look(0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
        "arterial": look(
            (0.05 + 0.3 * early) * uptake,
            1.0 * early * vein,
            0.15 * early * vein,
            draw((160.0, 360.0)),
            draw((40.0, 110.0)),
            150.0,
        ),
        "portal": look(
            uptake, vein, vein * draw(ranges.hepatic_share), vein * draw((0.85, 1.5)), uptake + 8.0, draw((110.0, 190.0))
        ),
        "delayed": look(0.7 * uptake, late * vein, late * vein * 0.98, late * vein * 0.95, 0.8 * uptake, 110.0),
    }
