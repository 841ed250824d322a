"""The patient without skin, couch and the air around: where to look on CT when no organ was found."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vesselgraph.region.anatomy import largest_piece
from vesselgraph.region.balls import dilated, distance_to, eroded
from vesselgraph.region.patient_grid import BoolGrid, PatientGrid
from vesselgraph.resampling import resample
from vesselgraph.volume import Volume

# Air is -1000 HU by definition, and what scanners put outside their circle is lower; inflated lung is near -850.
_AIR = -930.0
# Wider than the air films of skin folds, bowel and emphysema, thinner than the air beside a patient.
_FILM = 6.0
# Skin and the blur of its edge.
_SKIN = 6.0
# Couch and cushions hang on necks thinner than twice this, once the skin is off.
_NECK = 6.0
# Air beside the patient has more than this even where the field of view is tight.
_MIN_AIR_ML = 50.0


def inside_patient(grid: PatientGrid, image: Volume) -> BoolGrid | None:
    """Return the patient without the outermost 6 mm, on the image grid; None where no air shows around the patient.

    Air around the patient is what reaches the sides of the planes; air in the lungs, the airways and the bowel stays inside
    as long as it does not reach them. Of what is left, the largest piece is the patient.
    """
    outside = _air_around(grid)
    if outside is None:
        return None
    far = distance_to(outside, grid.step)
    core = largest_piece(far > _SKIN + _NECK)
    patient = dilated(core, _NECK, grid.step) & (far > _SKIN)
    if not patient.any():
        return None
    depth = Volume(np.pad(distance_to(~patient, grid.step), 1, mode="edge"), grid.space.shifted((-1, -1, -1)))
    fine = np.asarray(resample(depth, image.space, image.shape, fill=0.0).array)
    inside = fine > 0.5 * grid.step
    return inside if inside.any() else None


def _air_around(grid: PatientGrid) -> BoolGrid | None:
    air = (grid.hu < _AIR) | ~grid.covered
    core = np.pad(eroded(air, _FILM, grid.step), ((0, 0), (1, 1), (1, 1)), mode="edge")
    labels, _ = ndimage.label(core)
    rims = (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1])
    touching = np.unique(np.concatenate([rim.ravel() for rim in rims]))
    around = np.isin(labels, touching[touching > 0])[:, 1:-1, 1:-1]
    around = dilated(around, _FILM, grid.step) & air if around.any() else around
    return around if grid.millilitres(around & grid.covered) >= _MIN_AIR_ML else None
