"""Studies: equal bytes, the HU asked for, the same patient in every grid, clear refusals."""

import numpy as np
import pytest
from scipy import ndimage

from vesselgraph.config import PhaseLook, StudyConfig
from vesselgraph.errors import ConfigError
from vesselgraph.graph import VesselGraph
from vesselgraph.phantom import Study, make_study, sample_study_config

CONFIG = StudyConfig(
    seed=2, shape=(56, 64, 64), n_portal_tips=150, n_hepatic_tips=120, tip_radius=0.8, center=(-50.0, -8.0, 10.0)
)


@pytest.fixture(scope="module")
def study() -> Study:
    return make_study(CONFIG)


def test_equal_configurations_give_equal_bytes(study: Study) -> None:
    again = make_study(CONFIG)
    for name, volume in study.phases.items():
        assert np.array_equal(volume.array, again.phases[name].array)
    assert np.array_equal(study.graph.path_position, again.graph.path_position)
    other = make_study(CONFIG.model_copy(update={"seed": 3}))
    assert not np.array_equal(other.organ_mask.array, study.organ_mask.array)


def test_another_noise_keeps_anatomy_and_truth(study: Study) -> None:
    other = make_study(CONFIG.model_copy(update={"noise_seed": 1}))
    assert np.array_equal(other.graph.path_position, study.graph.path_position)
    change = other.phases["portal"].array.astype(float) - study.phases["portal"].array
    assert change.std() == pytest.approx(np.sqrt(2.0) * CONFIG.portal.noise, rel=0.1)


def test_form(study: Study) -> None:
    assert list(study.phases) == ["portal", "native", "arterial", "delayed"]
    assert all(volume.array.dtype == np.int16 for volume in study.phases.values())
    assert sorted(study.vessel_masks) == ["artery", "hepatic", "portal"]
    graph = study.graph
    assert set(np.unique(graph.edge_data["tree"])) <= {0, 1, 2, 3}
    assert np.isfinite(graph.path_radius).all()
    index = graph.space.to_index(graph.path_position) if graph.space else np.zeros((0, 3))
    assert ((index > -0.5) & (index < np.array(CONFIG.shape) - 0.5)).all()
    assert (graph.edge_data["visibility"] >= np.abs(graph.edge_data["visibility_portal"]) - 1e-9).all()


def test_centerlines_lie_in_the_masks_of_their_trees(study: Study) -> None:
    graph = study.graph
    assert graph.space is not None
    index = np.rint(graph.space.to_index(graph.path_position)).astype(int)
    for value, name in ((1, "portal"), (2, "hepatic"), (3, "artery")):
        own = index[graph.edge_data["tree"][graph.edge_of_point] == value]
        assert len(own)
        assert study.vessel_masks[name].array[tuple(own.T)].mean() > 0.99


def test_liver_and_blood_have_the_asked_hu() -> None:
    quiet = PhaseLook(liver=100.0, portal=190.0, hepatic=160.0, artery=150.0, noise=0.0)
    config = CONFIG.model_copy(
        update={
            "portal": quiet,
            "phases": ("portal",),
            "texture": 0.0,
            "patchiness": 0.0,
            "n_lesions": 0,
            "n_cysts": 0,
            "blur": 0.3,
        }
    )
    made = make_study(config)
    image = made.phases["portal"].array.astype(float)
    vessel = np.logical_or.reduce([mask.array for mask in made.vessel_masks.values()])
    liver = ndimage.binary_erosion(made.organ_mask.array, iterations=4) & ~ndimage.binary_dilation(vessel, iterations=4)
    assert np.median(image[liver]) == pytest.approx(100.0, abs=0.6)
    for name, blood in (("portal", 190.0), ("hepatic", 160.0)):
        core = ndimage.binary_erosion(made.vessel_masks[name].array, iterations=2)
        assert np.median(image[core]) == pytest.approx(blood, abs=3.0)


def test_grids_show_the_same_patient(study: Study) -> None:
    coarse = make_study(CONFIG.model_copy(update={"shape": (14, 32, 32), "spacing": (4.0, 2.0, 2.0), "slice_thickness": 5.0}))
    assert coarse.phases.reference.shape == (14, 32, 32)
    fine = study.organ_mask.array
    there = coarse.phases.reference.space.to_index(study.organ_mask.space.to_world(np.argwhere(fine)))
    index = np.clip(np.rint(there).astype(int), 0, np.array([13, 31, 31]))
    assert coarse.organ_mask.array[tuple(index.T)].mean() > 0.97
    assert coarse.graph.length == pytest.approx(study.graph.length, rel=0.06)


def test_truth_moves_with_the_breath() -> None:
    still = PhaseLook(liver=100.0, portal=220.0, hepatic=100.0, artery=100.0, noise=0.0)
    moved = still.model_copy(update={"shift": 6.0, "residue": 1.5})
    plain = {"texture": 0.0, "patchiness": 0.0, "mottling": 0.0, "n_lesions": 0, "n_cysts": 0, "n_spots": 0, "fissure": 0.0}
    config = CONFIG.model_copy(update={"portal": still, "delayed": moved, "phases": ("portal", "delayed"), **plain})
    made = make_study(config)
    assert made.graph_in("portal") is made.graph

    def brightness(graph: VesselGraph) -> float:
        wide = (graph.path_radius > 1.5) & (graph.edge_data["tree"][graph.edge_of_point] == 1)
        index = np.rint(made.phases["delayed"].space.to_index(graph.path_position[wide])).astype(int)
        index = index[((index > 3) & (index < np.array(CONFIG.shape) - 4)).all(axis=1)]
        return float(np.median(made.phases["delayed"].array[tuple(index.T)]))

    assert brightness(made.graph_in("delayed")) > 195.0
    assert brightness(made.graph) < 180.0


def test_arteries_shine_in_the_arterial_phase_only(study: Study) -> None:
    wide = study.vessel_masks["artery"].array
    seen = {name: volume.array[wide].mean() for name, volume in study.phases.items()}
    assert seen["arterial"] > seen["delayed"] > seen["native"]


@pytest.mark.parametrize("change", [{"phases": ("portal", "venous")}, {"phases": ("portal", "portal")}, {"reference": "late"}])
def test_unknown_phases_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="each phase once"):
        make_study(CONFIG.model_copy(update=change))


def test_sampled_configurations_vary_and_are_valid() -> None:
    configs = [sample_study_config(seed) for seed in range(40)]
    assert len({config.digest() for config in configs}) == 40
    contrast = [config.portal.portal - config.portal.liver for config in configs]
    assert min(contrast) < 40.0
    assert max(contrast) > 75.0
    thickness = [config.slice_thickness for config in configs]
    assert min(thickness) < 1.5
    assert max(thickness) > 3.0
