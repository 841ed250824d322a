"""How one phase has moved against another: rigid, then B-spline, driven by organs and not by vessels.

The trap: portal vein, hepatic artery and bile duct run in parallel, and each is bright in another phase. A match that looks
at vessels pulls one onto the other. Here everything thinner than ``vessel_diameter`` is removed from both images before they
are compared, and the control points of the deformation lie much further apart than neighbouring vessels.

References
----------
Heldmann & Zidowitz, "Elastic registration of multiphase CT images of liver", SPIE Medical Imaging 2009.
Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE TMI 22(1), 2003, section II.
Rueckert et al., "Nonrigid registration using free-form deformations", IEEE TMI 18(8), 1999, section II.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from vesselgraph.config import RegistrationConfig
from vesselgraph.errors import RegistrationError
from vesselgraph.progress import Progress, silent
from vesselgraph.resampling import isotropic_grid, resample, to_sitk
from vesselgraph.space import FloatArray
from vesselgraph.volume import Volume

_SOFT_TISSUE_HU = (-100.0, 200.0)
_BODY_ABOVE_HU = -300.0
_AIR_BELOW_HU = -500.0
_N_BINS = 32
_MIN_JACOBIAN = 0.2
_MIN_COVERED_FRACTION = 0.2
_RIM = 3
_FIELD_STEP = 6.0
# With control points 50 mm apart every second coarse voxel says the same, eight times as fast.
_SPLINE_SHRINK = 2
_SPLINE_SCALES = (2.0, 1.0)
# Few steps on purpose: stopping early keeps the deformation from fitting noise where the tissue is even.
_SPLINE_ITERATIONS = 6

_DEFAULT = RegistrationConfig()

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class _Working:
    """One phase made ready for matching: vessels gone, coarse, and where its body is."""

    tissue: Volume
    body: Volume


@dataclass(frozen=True)
class Fit:
    """How well a moved phase fits the reference, on the voxels both cover."""

    mutual_information: float
    dice: float
    correlation: float
    covered_fraction: float


@dataclass(frozen=True)
class Match:
    """The motion between two phases, and what it is worth.

    ``transform`` leads from world positions in the reference to where the same tissue lies in the phase; None if nothing
    moved. ``displacement`` (n,) mm is its length at the coarse voxels of the body, ``min_jacobian`` the smallest local change
    of volume, 1 without deformation.
    """

    transform: sitk.Transform | None
    before: Fit
    after: Fit
    displacement: FloatArray
    min_jacobian: float

    def to_phase(self, position: ArrayLike) -> FloatArray:
        """Return where tissue at reference positions (n, 3) mm lies in the phase, (n, 3) mm."""
        points = np.asarray(position, dtype=np.float64)
        if self.transform is None:
            return points
        return np.array([self.transform.TransformPoint(point) for point in points.tolist()]).reshape(points.shape)


def match_phase(
    reference: Volume,
    phase: Volume,
    config: RegistrationConfig = _DEFAULT,
    *,
    name: str = "",
    progress: Progress = silent,
) -> Match:
    """Return the motion from a reference phase to another phase; :func:`~vesselgraph.registration.register_phases` says how.

    Raises
    ------
    RegistrationError
        As there.
    """
    step = f"register {name or phase.name or 'phase'}"
    progress(step, 0.0)
    fixed, moving = _prepare(reference, config), _prepare(phase, config)
    identity = sitk.Transform(3, sitk.sitkIdentity)
    before = _fit(fixed, moving, identity)
    if before.covered_fraction < _MIN_COVERED_FRACTION:
        raise RegistrationError(
            f"phase {name!r} to show what the reference shows",
            f"a common field of view of {before.covered_fraction:.0%}",
            "check that the phases are of one patient and one study",
        )
    progress(step, 0.1)
    best, fit = _better(identity, before, _rigid(fixed, moving, config), fixed, moving, config)
    progress(step, 0.3)
    jacobian = 1.0
    if config.max_deformation > 0:
        deformed = _deformable(fixed, moving, best, config)
        smallest = _smallest_jacobian(deformed, fixed)
        # Where space would fold, the rigid match stands.
        if smallest >= _MIN_JACOBIAN:
            best, fit = _better(best, fit, deformed, fixed, moving, config)
            jacobian = smallest if best is deformed else 1.0
    if fit.dice < config.refuse_below:
        raise RegistrationError(
            f"phase {name!r} to overlap the reference by {config.refuse_below:.2f} (Dice of the bodies)",
            f"{fit.dice:.2f} after the match",
            "check that the phases are of one patient and one study",
        )
    if fit.correlation < config.refuse_correlation_below:
        raise RegistrationError(
            f"phase {name!r} to agree in soft tissue with the reference by {config.refuse_correlation_below:.2f} (correlation)",
            f"{fit.correlation:.2f} after the match",
            "check that the phases are of one patient and not mirrored; registration.refuse_correlation_below=-1 lets any pass",
        )
    progress(step, 1.0)
    return Match(None if best is identity else best, before, fit, _displacement(best, fixed), jacobian)


def _prepare(volume: Volume, config: RegistrationConfig) -> _Working:
    coarse = resample(volume, *isotropic_grid(volume, config.step))
    array = coarse.array.astype(np.float32)
    has_air = bool(array.min() < _AIR_BELOW_HU)
    low, high = _SOFT_TISSUE_HU if has_air else (float(v) for v in np.percentile(array, (1.0, 99.0)))
    tissue = ndimage.median_filter(np.clip(array, low, high), 3, mode="nearest")
    width = round(config.vessel_diameter / config.step)
    if width > 1:
        # Opening takes bright vessels out, closing dark bile ducts and vessels without contrast.
        tissue = ndimage.grey_closing(ndimage.grey_opening(tissue, width, mode="nearest"), width, mode="nearest")
    tissue = ndimage.gaussian_filter(tissue, 1.0, mode="nearest")
    body = _body(array) if has_air else np.ones(array.shape, dtype=bool)
    return _Working(coarse.with_array(tissue), coarse.with_array(body))


def _body(array: NDArray[np.float32]) -> BoolArray:
    """Return the largest piece above air with its holes (lungs, bowel gas) filled plane by plane."""
    labels, count = ndimage.label(ndimage.binary_opening(array > _BODY_ABOVE_HU, iterations=1))
    if count == 0:
        return np.ones(array.shape, dtype=bool)
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    return np.stack([ndimage.binary_fill_holes(plane) for plane in largest])


def _method(fixed: _Working, config: RegistrationConfig) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfWorkUnits(1)
    method.SetMetricAsMattesMutualInformation(_N_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(config.sampling_fraction, config.seed + 1)
    rim = ndimage.binary_dilation(fixed.body.array, iterations=_RIM)
    method.SetMetricFixedMask(to_sitk(fixed.body.with_array(rim)))
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _rigid(fixed: _Working, moving: _Working, config: RegistrationConfig) -> sitk.Transform:
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.body.space.to_world(np.argwhere(fixed.body.array).mean(axis=0)).tolist())
    start.SetTranslation(_best_shift(fixed, moving, config))
    method = _method(fixed, config)
    method.SetInitialTransform(start, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=4.0, minStep=0.02, numberOfIterations=80, relaxationFactor=0.6, gradientMagnitudeTolerance=1e-6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([config.step, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    return _executed(method, fixed, moving)


def _best_shift(fixed: _Working, moving: _Working, config: RegistrationConfig) -> list[float]:
    """Return the head-to-foot shift with the best fit: breathing is mostly that, and farther than a gradient sees."""
    step = 2.0 * config.step
    n_steps = int(config.max_shift // step)
    best, best_value = 0.0, -np.inf
    for k in sorted(range(-n_steps, n_steps + 1), key=abs):
        candidate = sitk.TranslationTransform(3, [0.0, 0.0, k * step])
        fit = _fit(fixed, moving, candidate)
        if fit.covered_fraction >= _MIN_COVERED_FRACTION and fit.mutual_information > best_value * 1.001:
            best, best_value = k * step, fit.mutual_information
    return [0.0, 0.0, best]


def _deformable(fixed: _Working, moving: _Working, start: sitk.Transform, config: RegistrationConfig) -> sitk.Transform:
    """Return ``start`` followed by a coarse and a fine B-spline: what the coarse mesh explains, the fine one need not."""
    parts = [start]
    for scale in _SPLINE_SCALES:
        spacing = scale * config.bspline_spacing
        mesh = [max(1, round(float(extent) / spacing)) for extent in fixed.tissue.extent[::-1]]
        spline = sitk.BSplineTransformInitializer(to_sitk(fixed.tissue), mesh, order=3)
        method = _method(fixed, config)
        method.SetMovingInitialTransform(sitk.CompositeTransform(parts))
        method.SetInitialTransform(spline, inPlace=True)
        method.SetShrinkFactorsPerLevel([_SPLINE_SHRINK])
        method.SetSmoothingSigmasPerLevel([0.0])
        # A B-spline stays within the hull of its coefficients, so a bound on these bounds the displacement.
        bound = config.max_deformation / len(_SPLINE_SCALES)
        method.SetOptimizerAsLBFGSB(
            gradientConvergenceTolerance=1e-6,
            numberOfIterations=_SPLINE_ITERATIONS,
            maximumNumberOfCorrections=5,
            maximumNumberOfFunctionEvaluations=2 * _SPLINE_ITERATIONS,
            costFunctionConvergenceFactor=1e8,
            lowerBound=-bound,
            upperBound=bound,
        )
        _executed(method, fixed, moving)
        # As a field, because ITK cannot differentiate through a B-spline below another.
        parts.append(sitk.DisplacementFieldTransform(_field(spline, fixed.body, _FIELD_STEP)))
    return sitk.CompositeTransform(parts)


def _executed(method: sitk.ImageRegistrationMethod, fixed: _Working, moving: _Working) -> sitk.Transform:
    try:
        return method.Execute(to_sitk(fixed.tissue), to_sitk(moving.tissue))
    except RuntimeError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        raise RegistrationError("phases that can be compared", reason, "check that both show the same region") from error


def _better(
    old: sitk.Transform, old_fit: Fit, new: sitk.Transform, fixed: _Working, moving: _Working, config: RegistrationConfig
) -> tuple[sitk.Transform, Fit]:
    new_fit = _fit(fixed, moving, new)
    needed = (1.0 + config.min_gain_fraction) * old_fit.mutual_information
    return (new, new_fit) if new_fit.mutual_information > needed else (old, old_fit)


def _fit(fixed: _Working, moving: _Working, transform: sitk.Transform) -> Fit:
    ones = moving.body.with_array(np.ones(moving.body.shape, dtype=np.uint8))
    covered = _moved(ones, fixed.body, transform, sitk.sitkNearestNeighbor, 0.0) > 0
    share = float(covered.mean())
    if share < _MIN_COVERED_FRACTION:
        return Fit(0.0, 0.0, 0.0, share)
    body = _moved(moving.body, fixed.body, transform, sitk.sitkNearestNeighbor, 0.0) > 0
    tissue = _moved(moving.tissue, fixed.tissue, transform, sitk.sitkLinear, 0.0)
    fixed_body = fixed.body.array.astype(bool)
    looked_at = ndimage.binary_dilation(fixed_body, iterations=_RIM) & covered
    inside = fixed_body & body & covered
    both = int(fixed_body[covered].sum()) + int(body[covered].sum())
    dice = 2.0 * float(inside.sum()) / both if both else 0.0
    a, b = fixed.tissue.array[looked_at], tissue[looked_at]
    c, d = fixed.tissue.array[inside], tissue[inside]
    return Fit(_mutual_information(a, b), dice, _correlation(c, d), share)


def _mutual_information(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.size == 0:
        return 0.0
    joint = np.histogram2d(a, b, bins=_N_BINS)[0] / a.size
    independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _moved(volume: Volume, like: Volume, transform: sitk.Transform, interpolator: int, fill: float) -> NDArray[Any]:
    image = sitk.Resample(to_sitk(volume), to_sitk(like), transform, interpolator, fill)
    return np.asarray(sitk.GetArrayFromImage(image))


def _field(transform: sitk.Transform, like: Volume, step: float) -> sitk.Image:
    space, shape = isotropic_grid(like, step)
    return sitk.TransformToDisplacementField(
        transform,
        sitk.sitkVectorFloat64,
        [int(n) for n in shape[::-1]],
        [float(v) for v in space.origin],
        [float(v) for v in space.spacing[::-1]],
        space.direction[:, ::-1].ravel().tolist(),
    )


def _smallest_jacobian(transform: sitk.Transform, fixed: _Working) -> float:
    field = _field(transform, fixed.body, _FIELD_STEP)
    return float(sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field)).min())


def _displacement(transform: sitk.Transform, fixed: _Working) -> FloatArray:
    """Return the length of the displacement, mm, at the body's coarse voxels."""
    field = _field(transform, fixed.body, float(fixed.body.space.spacing[0]))
    length = np.linalg.norm(sitk.GetArrayFromImage(field), axis=-1)
    return np.asarray(length[fixed.body.array.astype(bool)])


def move_phase(phase: Volume, reference: Volume, transform: sitk.Transform | None) -> Volume:
    """Return the phase on the grid of the reference, moved by ``transform``; what it does not cover is its smallest value."""
    if transform is None and phase.is_on_grid_of(reference):
        return phase
    # The deformation is smooth over centimetres: a field sampled at a few mm is as good and far faster.
    field = sitk.DisplacementFieldTransform(_field(transform, reference, _FIELD_STEP)) if transform is not None else None
    transform = field or sitk.Transform(3, sitk.sitkIdentity)
    array = _moved(phase, reference, transform, sitk.sitkLinear, float(phase.array.min()))
    return Volume(array.astype(phase.array.dtype, copy=False), reference.space, phase.name)
