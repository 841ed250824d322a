"""Frozen data through pickle and copy: the same values, read-only again, and checked again."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from tests.strategies import vessel_graphs
from vesselgraph.graph import Step, VesselGraph
from vesselgraph.mesh import Mesh
from vesselgraph.region import Region
from vesselgraph.space import Space
from vesselgraph.volume import Heatmap, PhaseSet, Volume

SPACE = Space.axial((3.0, 2.0, 1.0), (10.0, 20.0, 30.0))
IMAGE = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4), SPACE, "ct")
GRAPH = replace(
    VesselGraph.from_paths([[[0, 0, 0], [3, 4, 0]]], radii=[[1.0, 0.5]], edge_data={"score": np.array([0.5])}, space=SPACE),
    history=(Step("trace"),),
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(vessel_graphs())
def test_any_graph_comes_back_as_it_was(graph):
    again = pickle.loads(pickle.dumps(graph))
    for name in ("node_position", "node_radius", "edge_nodes", "path_offset", "path_position", "path_radius"):
        np.testing.assert_array_equal(getattr(again, name), getattr(graph, name))
    for axis in ("node_data", "edge_data", "path_data"):
        ours, theirs = getattr(again, axis), getattr(graph, axis)
        assert list(ours) == list(theirs)
        for name in theirs:
            assert ours[name].dtype.newbyteorder("=") == theirs[name].dtype.newbyteorder("=")
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert again.history == graph.history
    assert (again.space is None) == (graph.space is None)


@pytest.mark.parametrize("again", [pickle.loads(pickle.dumps(GRAPH)), copy.deepcopy(GRAPH)], ids=["pickle", "deepcopy"])
def test_copies_are_read_only_too(again):
    assert again.space.is_close(SPACE)
    with pytest.raises(ValueError, match="read-only"):
        again.path_position[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        again.edge_data["score"][0] = 1.0
    with pytest.raises(TypeError, match="item assignment"):
        again.edge_data["more"] = np.zeros(1)


def test_a_cropped_volume_takes_its_own_voxels_only():
    large = Volume(np.zeros((50, 50, 50), np.int16), Space.axial())
    data = pickle.dumps(large.crop((0, 0, 0), (2, 2, 2)))
    assert len(data) < 5000
    again = pickle.loads(data)
    assert again.shape == (2, 2, 2)
    assert not again.array.flags.writeable


def test_phases_keep_order_quality_and_warnings():
    phases = PhaseSet({"portal": IMAGE, "arterial": IMAGE}, {"arterial": {"body_dice_after": 0.9}}, ("they fit badly",))
    again = pickle.loads(pickle.dumps(phases))
    assert list(again) == ["portal", "arterial"]
    assert again.quality["arterial"]["body_dice_after"] == 0.9
    assert again.warnings == ("they fit badly",)
    np.testing.assert_array_equal(again.reference.array, IMAGE.array)
    with pytest.raises(TypeError, match="item assignment"):
        again.quality["arterial"]["body_dice_after"] = 1.0


def test_heatmap_region_and_mesh_come_back():
    mask = IMAGE.with_array(IMAGE.array > 3)
    heat = Heatmap(IMAGE.with_array(np.ones(IMAGE.shape, np.float32)), source="mask")
    region = Region(mask, mask, "given", 1.0, "as given", {"volume_ml": 2.0})
    mesh = Mesh([[0, 0, 0], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], {"radius": np.ones(3)})
    heat, region, mesh = pickle.loads(pickle.dumps((heat, region, mesh)))
    assert heat.source == "mask"
    assert region.measurements["volume_ml"] == 2.0
    assert mesh.point_data["radius"].tolist() == [1.0, 1.0, 1.0]


def test_a_graph_travels_to_another_process_and_back():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(VesselGraph.to_networkx, GRAPH).result().number_of_edges() == 1
        assert pool.submit(copy.copy, GRAPH).result().edge_length.tolist() == [5.0]
