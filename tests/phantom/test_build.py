"""The image: deterministic, with the intensities asked for, and clear refusals."""

import hashlib

import numpy as np
import pytest
from scipy import ndimage

from vesselgraph.config import PhantomConfig
from vesselgraph.errors import ConfigError, GeometryError
from vesselgraph.phantom import Phantom, make_phantom

CONFIG = PhantomConfig(shape=(64, 64, 64), n_tips=8, seed=2)


def digest(phantom: Phantom) -> str:
    arrays = (phantom.image.array, phantom.tree_mask.array, phantom.organ_mask.array, phantom.graph.path_position)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(CONFIG)


def test_same_seed_same_bytes_other_seed_other_liver(phantom: Phantom) -> None:
    assert digest(make_phantom(CONFIG)) == digest(phantom)
    other = make_phantom(CONFIG.model_copy(update={"seed": 3}))
    assert not np.array_equal(other.organ_mask.array, phantom.organ_mask.array)
    assert other.graph.length != phantom.graph.length


def test_another_noise_keeps_the_anatomy(phantom: Phantom) -> None:
    other = make_phantom(CONFIG.model_copy(update={"noise_seed": 1}))
    assert np.array_equal(other.tree_mask.array, phantom.tree_mask.array)
    difference = other.image.array[phantom.organ_mask.array].astype(float) - phantom.image.array[phantom.organ_mask.array]
    assert difference.std() == pytest.approx(np.sqrt(2) * CONFIG.noise, rel=0.05)
    assert abs(difference.mean()) < 1.0


def test_types_and_grids(phantom: Phantom) -> None:
    assert phantom.image.array.dtype == np.int16
    assert phantom.tree_mask.array.dtype == np.uint8
    for volume in (phantom.vessel_mask, phantom.organ_mask):
        assert volume.array.dtype == np.bool_
        assert volume.is_on_grid_of(phantom.image)
    assert np.allclose(phantom.image.bounds.mean(axis=0), 0.0)
    assert phantom.graph.history[-1].stage == "phantom"


def test_liver_and_vessels_have_the_asked_intensities() -> None:
    config = CONFIG.model_copy(
        update={"noise": 10.0, "texture": 0.0, "n_lesions": 0, "n_cysts": 0, "n_spots": 0, "n_strands": 0, "tip_radius": 2.0,
                "n_tips": 3, "shape": (128, 128, 128), "portal_contrast": 80.0, "hepatic_contrast": 40.0}
    )  # fmt: skip
    made = make_phantom(config)
    image = made.image.array.astype(float)
    liver = ndimage.binary_erosion(made.organ_mask.array, iterations=4)
    liver &= ~ndimage.binary_dilation(made.vessel_mask.array, iterations=4)
    assert image[liver].mean() == pytest.approx(config.liver, abs=0.5)
    assert image[liver].std() == pytest.approx(config.noise, rel=0.1)
    for value, contrast in ((1, 80.0), (2, 40.0)):
        core = ndimage.binary_erosion(made.tree_mask.array == value, iterations=2) & made.organ_mask.array
        assert image[core].mean() == pytest.approx(config.liver + contrast, abs=6.0)


def test_noise_is_correlated_in_plane() -> None:
    made = [
        make_phantom(CONFIG.model_copy(update={"spacing": (1.0, 0.7, 0.7), "shape": (40, 64, 64), "noise_seed": n}))
        for n in (0, 1)
    ]
    noise = (made[0].image.array.astype(float) - made[1].image.array)[:, 10:-10, 10:-10]
    neighbours = np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1]
    across = np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]
    assert 0.2 < neighbours < 0.8
    assert abs(across) < 0.15


def test_it_looks_like_an_abdomen(phantom: Phantom) -> None:
    image = phantom.image.array
    assert image[:, 0, 0].mean() < -900, "air beyond the skin"
    assert image.max() > 300, "bone"
    assert 0.15 < phantom.organ_mask.array.mean() < 0.4
    assert ndimage.label(phantom.organ_mask.array)[1] == 1
    assert (image[-1] < -700).mean() > 0.1, "lung above the dome"


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(ConfigError, match="room for 60 tips"):
        make_phantom(CONFIG.model_copy(update={"n_tips": 60, "tip_radius": 2.0}))
    with pytest.raises(ConfigError, match="field of view"):
        make_phantom(CONFIG.model_copy(update={"shape": (16, 64, 64)}))
    with pytest.raises(ConfigError, match="positive grid shape"):
        make_phantom(CONFIG.model_copy(update={"shape": (64, 0, 64)}))
    with pytest.raises(GeometryError, match="orthogonal"):
        make_phantom(CONFIG.model_copy(update={"direction": ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))}))
    with pytest.raises(GeometryError, match="spacing > 0"):
        make_phantom(CONFIG.model_copy(update={"spacing": (0.0, 1.0, 1.0)}))


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    make_phantom(CONFIG, progress=lambda _, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
