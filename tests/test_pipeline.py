import json
from dataclasses import replace

import numpy as np
import pytest

import vesselgraph as vg
from vesselgraph import pipeline
from vesselgraph.config import PhantomConfig, PipelineConfig, SurfaceConfig
from vesselgraph.errors import BudgetError, CheckpointError, InputError, RangeError, SpaceMismatchError
from vesselgraph.pipeline import reconstruct
from vesselgraph.progress import silent
from vesselgraph.provenance import RunLog
from vesselgraph.space import Space

# Stricter than for generated CT in general: what is compared here are vessels, not what barely passes.
FAST = PipelineConfig.build(
    {
        "region": {"method": "whole", "margin": 0.0},
        "heatmap": {"method": "ridge"},
        "surface": {"step": 1.0},
        "prune": {"min_heat": 0.16},
    }
)


@pytest.fixture(scope="module")
def phantom():
    return vg.make_phantom(PhantomConfig(shape=(96, 96, 96), n_tips=20))


@pytest.fixture(scope="module")
def result(phantom):
    return reconstruct(phantom.image, FAST, mask=phantom.organ_mask)


@pytest.fixture(scope="module")
def given(phantom):
    """The true vessels as a heatmap, where a test is not about the ridge filter."""
    return vg.Heatmap(phantom.vessel_mask.with_array(phantom.vessel_mask.array.astype(np.float32)), source="mask")


@pytest.fixture
def no_surface(monkeypatch):
    """Leave the costliest stage out where a test is about something else."""
    monkeypatch.setattr(pipeline, "build_surface", lambda *_, **__: vg.Mesh.empty())


def same_vessels(graph, other, tolerance=1.0):
    return vg.compare_graphs(graph, other, tolerances=(tolerance,)).centerline[tolerance].f1


def test_most_of_the_vessels_are_found(phantom, result):
    score = vg.compare_graphs(result.graph, phantom.graph, region=phantom.organ_mask).centerline[2.0]
    assert score.precision > 0.9
    assert score.f1 > 0.65


def test_surface_is_closed_and_says_so(result):
    assert result.run["surface"]["n_faces"] == result.mesh.n_faces > 0
    assert result.mesh.volume > 0


def test_missing_weights_are_told_before_any_work(tmp_path):
    steps = []
    image = vg.Volume(np.random.default_rng(0).normal(size=(20, 20, 20)), Space.axial())
    network = {"heatmap": {"method": "network", "weights": str(tmp_path / "none.safetensors")}}
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        reconstruct(image, PipelineConfig.build(network), progress=lambda step, _share: steps.append(step))
    assert steps == []


def test_weights_are_not_asked_for_where_a_heatmap_is_given(given, no_surface):
    network = {"heatmap": {"method": "network", "weights": "none.safetensors"}}
    assert reconstruct(None, PipelineConfig.build(network), heatmap=given).graph.n_edges > 0


def test_record_is_plain_json(result):
    again = json.loads(json.dumps(result.run, allow_nan=False))
    assert again == result.run
    assert {"program", "started", "versions", "machine", "config", "config_digest", "inputs", "timings"} <= set(again)
    assert list(again["timings"]) == ["check", "region", "heatmap", "trace", "prune", "surface", "total"]
    assert again["config_digest"] == FAST.digest()


def test_every_candidate_is_kept_or_has_a_reason(result):
    candidates, run = result.overcomplete, result.run
    n_cut = sum(row["n_branches"] for row in run["dropped"].values())
    kept = candidates.edge_data["keep"].astype(bool)
    assert n_cut == int((~kept).sum())
    assert sum(row["length"] for row in run["dropped"].values()) == pytest.approx(candidates.edge_length[~kept].sum(), abs=0.1)
    assert all(run["dropped"])


def test_same_input_gives_the_same_result(phantom, result):
    again = reconstruct(phantom.image, FAST, mask=phantom.organ_mask)
    assert np.array_equal(again.graph.path_position, result.graph.path_position)
    assert np.array_equal(again.mesh.points, result.mesh.points)
    assert again.run["inputs"] == result.run["inputs"]


def moved(volume, axes, flips):
    """The same volume in the world, stored with its axes in another order and some of them backwards."""
    array, space = volume.array.transpose(axes), volume.space
    spacing, direction, first = space.spacing[list(axes)], space.direction[:, list(axes)].copy(), np.zeros(3)
    for axis in flips:
        array = np.flip(array, axis)
        first[axes[axis]] = volume.shape[axes[axis]] - 1
        direction[:, axis] *= -1
    return vg.Volume(array, Space(spacing, space.to_world(first), direction), volume.name)


@pytest.fixture(scope="module")
def clear():
    """Clearly visible vessels, the default pruning, and their graph; faint branches can go either way under a flip."""
    settings = {"portal_contrast": 180.0, "hepatic_contrast": 170.0, "noise": 8.0}
    phantom = vg.make_phantom(PhantomConfig(shape=(72, 72, 72), spacing=(1.4, 1.4, 1.4), n_tips=6, **settings))
    config = PipelineConfig.build({"region": {"method": "whole", "margin": 0.0}, "surface": {"step": 1.0}})
    return phantom, config, reconstruct(phantom.image, config, mask=phantom.organ_mask).graph


@pytest.mark.parametrize(("axes", "flips"), [((0, 1, 2), (0,)), ((0, 1, 2), (1, 2)), ((2, 0, 1), ()), ((1, 0, 2), (2,))])
def test_storage_order_does_not_matter(no_surface, clear, axes, flips):
    phantom, config, result = clear
    image, mask = moved(phantom.image, axes, flips), moved(phantom.organ_mask, axes, flips)
    other = reconstruct(image, config, mask=mask)
    assert same_vessels(other.graph, result) > 0.97


def test_crop_around_the_organ_does_not_matter(no_surface, phantom, result):
    where = np.argwhere(phantom.organ_mask.array)
    first = np.maximum(where.min(axis=0) - 10, 0)
    last = np.minimum(where.max(axis=0) + 11, phantom.image.shape)
    cropped = reconstruct(phantom.image.crop(tuple(first), tuple(last)), FAST, mask=phantom.organ_mask)
    assert same_vessels(cropped.graph, result.graph) > 0.97


def test_translated_and_turned_world_moves_the_graph_along(no_surface, phantom, result):
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    shift = np.array([100.0, -50.0, 20.0])

    def carried(volume):
        space = volume.space
        return vg.Volume(volume.array, Space(space.spacing, turn @ space.origin + shift, turn @ space.direction))

    other = reconstruct(carried(phantom.image), FAST, mask=carried(phantom.organ_mask)).graph
    expected = result.graph.path_position @ turn.T + shift
    assert np.abs(np.sort(other.path_position, axis=0) - np.sort(expected, axis=0)).max() < 1e-3


def test_missing_mask_is_said(no_surface, phantom):
    run = reconstruct(phantom.image.crop((30, 30, 30), (70, 70, 70)), FAST).run
    assert any("No organ mask" in warning for warning in run["warnings"])
    assert run["region"]["kind"] == "whole"


def test_own_heatmap_keeps_its_grid(no_surface, phantom):
    heat = phantom.vessel_mask.with_array(phantom.vessel_mask.array.astype(np.float32))
    part = heat.crop((20, 20, 20), (70, 70, 70))
    made = reconstruct(phantom.image, FAST, heatmap=vg.Heatmap(part, source="mask"))
    assert made.heatmap.heat is part
    assert made.run["heatmap"]["shape"] == [50, 50, 50]
    low, high = part.bounds
    assert ((made.graph.path_position >= low - 1) & (made.graph.path_position <= high + 1)).all()


def test_own_heatmap_is_not_cut_by_an_estimated_organ(no_surface, phantom, given, monkeypatch):
    asked = []

    def remember(image, config, **_):
        asked.append(config.method)
        return vg.estimate_region(image, config)

    monkeypatch.setattr(pipeline, "estimate_region", remember)
    run = reconstruct(phantom.image, PipelineConfig(), heatmap=given).run
    assert asked == ["whole"]
    assert run["region"]["note"] == "The whole field of view, since a heatmap was given."
    assert run["warnings"] == []


def test_nothing_found_is_a_result(phantom):
    cold = vg.Heatmap(phantom.image.with_array(np.full(phantom.image.shape, 0.01, np.float32)))
    made = reconstruct(phantom.image, FAST, heatmap=cold)
    assert made.graph.n_edges == 0
    assert made.mesh.n_faces == 0
    assert any("No vessel was found" in warning for warning in made.run["warnings"])


def test_few_nan_are_filled_and_said(no_surface, phantom, given):
    array = phantom.image.array.astype(np.float32)
    array[:2] = np.nan
    array[5, 5, 5] = np.inf
    made = reconstruct(phantom.image.with_array(array), FAST, heatmap=given)
    n_bad = 2 * array[0].size + 1
    assert any(f"{n_bad} voxels of image 'image' are not finite" in warning for warning in made.run["warnings"])
    assert np.isfinite(made.phases.reference.array).all()


@pytest.mark.parametrize(("value", "words"), [(np.nan, "only NaN"), (7.0, "the value 7")])
def test_image_without_contrast_is_refused(phantom, value, words):
    flat = phantom.image.with_array(np.full(phantom.image.shape, value, np.float32))
    with pytest.raises(RangeError, match=words):
        reconstruct(flat, FAST)


def test_heatmap_elsewhere_is_refused_before_work(phantom):
    space = replace(phantom.vessel_mask.space, origin=phantom.vessel_mask.space.origin + 1000.0)
    far = vg.Heatmap(vg.Volume(phantom.vessel_mask.array.astype(np.float32), space))
    with pytest.raises(SpaceMismatchError, match=r"heatmap that overlaps the image \(box x .* mm"):
        reconstruct(phantom.image, FAST, heatmap=far, progress=pytest.fail)


def test_mask_elsewhere_is_refused(phantom):
    space = replace(phantom.organ_mask.space, origin=phantom.organ_mask.space.origin + 1000.0)
    with pytest.raises(SpaceMismatchError, match="mask that overlaps the image"):
        reconstruct(phantom.image, FAST, mask=vg.Volume(phantom.organ_mask.array, space))


def test_memory_bound_comes_before_everything(phantom):
    config = PipelineConfig.build(overrides=["max_memory_gb=0.5"])
    with pytest.raises(BudgetError, match=r"at most 0\.5 GB"):
        reconstruct(phantom.image, config, progress=pytest.fail)


def test_two_phases_are_named_in_the_record(no_surface, phantom, given):
    phases = vg.PhaseSet({"portal": phantom.image, "late": phantom.image}, {"late": {"dice": 0.97}})
    run = reconstruct(phases, FAST, mask=phantom.organ_mask, heatmap=given).run
    assert run["phases"] == {"portal": {}, "late": {"dice": 0.97}}
    assert set(run["inputs"]) == {"portal", "late", "mask", "heatmap"}


def test_warnings_and_figures_of_the_registration_reach_the_record(no_surface, phantom, given):
    phases = vg.PhaseSet(
        {"portal": phantom.image, "late": phantom.image},
        {"late": {"body_dice_before": 0.5, "body_dice_after": 0.85}},
        ("phase 'late' fits badly",),
    )
    made = reconstruct(phases, FAST, heatmap=given)
    assert "phase 'late' fits badly" in made.run["warnings"]
    assert made.run["phases"]["late"]["body_dice_before"] == 0.5
    assert made.phases.warnings == phases.warnings


def test_heatmap_alone_is_traced_with_radii_of_its_own(no_surface, phantom, given):
    made = reconstruct(None, FAST, heatmap=given)
    assert made.phases is None
    assert set(made.run["inputs"]) == {"heatmap"}
    assert made.run["phases"] == {}
    assert made.run["warnings"] == []
    scores = vg.compare_graphs(made.graph, phantom.graph)
    assert scores.centerline[2.0].f1 > 0.85
    assert scores.radius.mae < 0.4
    inside = reconstruct(None, FAST, heatmap=given, mask=phantom.organ_mask)
    assert inside.region.kind == "given"


def test_neither_image_nor_heatmap_is_refused():
    with pytest.raises(InputError, match="an image or a heatmap; got neither"):
        reconstruct(None)


def test_files_of_the_inputs_are_digested(no_surface, phantom, given, tmp_path):
    vg.write_image(phantom.image, tmp_path / "patient-name.nii.gz")
    run = reconstruct(phantom.image, FAST, heatmap=given, sources={"image": tmp_path / "patient-name.nii.gz"}).run
    assert len(run["inputs"]["image"]["sha256_files"]) == 64
    assert run["inputs"]["image"]["path"] == "patient-name.nii.gz"


def rooted_at(graph):
    return graph.node_position[graph.node_data["root"]]


def test_trees_start_where_the_user_says(no_surface, phantom, given):
    free = reconstruct(None, FAST, heatmap=given)
    assert free.run["roots"] == []
    tips = free.graph.node_position[(free.graph.degree == 1) & ~free.graph.node_data["root"]]
    clicks = tips[:2] + 0.4
    clicked = reconstruct(None, FAST, heatmap=given, roots=clicks)
    assert clicked.run["roots"] == clicks.tolist()
    assert all((rooted_at(clicked.graph) == tip).all(axis=1).any() for tip in tips[:2])
    starts = clicked.graph.node_position[clicked.graph.edge_nodes[:, 0]]
    assert all((starts == tip).all(axis=1).any() for tip in tips[:2])
    marked = np.zeros(given.heat.shape, np.uint8)
    for label, tip in enumerate(tips[:2], start=1):
        marked[tuple(np.rint(given.heat.space.to_index(tip)).astype(int))] = label
    labelled = reconstruct(None, FAST, heatmap=given, root_labels=given.heat.with_array(marked))
    assert np.array_equal(rooted_at(labelled.graph), rooted_at(clicked.graph))
    assert "root_labels" in labelled.run["inputs"]
    named = reconstruct(
        None, FAST, heatmap=given, root_labels=given.heat.with_array(marked), label_names={1: "portal", 2: "hepatic"}
    )
    assert named.run["root_names"] == {"roots": [], "labels": ["1 portal", "2 hepatic"]}
    assert set(named.run["named"]) >= {"portal", "hepatic"}
    said = reconstruct(None, FAST, heatmap=given, roots={"portal": clicks[0], "hepatic": clicks[1]})
    np.testing.assert_array_equal(said.graph.edge_data["tree"], named.graph.edge_data["tree"])


def test_in_an_organ_trees_start_near_its_border(no_surface, phantom, given, monkeypatch):
    organs = []
    own = pipeline.plant
    monkeypatch.setattr(pipeline, "plant", lambda graph, said, organ: organs.append(organ) or own(graph, said, organ=organ))
    reconstruct(None, FAST, heatmap=given)
    reconstruct(None, FAST, heatmap=given, mask=phantom.organ_mask)
    assert organs[0] is None
    assert organs[1].array.sum() > 0


def test_a_root_far_from_everything_is_refused(no_surface, phantom, given):
    with pytest.raises(InputError, match=r"roots in the image \(x .*\).*\[500.0, 0.0, 0.0\].*negate x and y"):
        reconstruct(phantom.image, FAST, heatmap=given, roots=[500, 0, 0])
    corner = given.heat.bounds[0] + 1.0
    with pytest.raises(InputError, match=r"a vessel within 20 mm of the point.*nearest vessel is [\d.]+ mm away"):
        reconstruct(None, FAST, heatmap=given, roots=[corner])
    slab = phantom.organ_mask.array.copy()
    slab[:-12] = False
    with pytest.raises(InputError, match=r"roots within 20 mm of the region.*mm away from it; click on a vessel of this organ"):
        reconstruct(None, FAST, heatmap=given, mask=phantom.organ_mask.with_array(slab), roots=[corner])


def test_too_fine_surface_is_drawn_coarser_and_said():
    graph = vg.VesselGraph.from_paths([[[0, 0, 0], [300, 0, 0]]], [[5.0, 0.3]])
    log = RunLog()
    fine = SurfaceConfig(max_blocks=3000)
    with pytest.raises(BudgetError):
        vg.build_surface(graph, fine)
    mesh, drawn = pipeline._draw_surface(graph, fine, fine, log, silent)
    check = vg.check_surface(mesh, graph, drawn)
    assert check.is_sound
    assert drawn.min_radius > fine.min_radius
    assert abs(check.volume_error_fraction) < 0.02
    assert any("drawn with a step" in text for text in log.to_dict()["warnings"])


def test_surface_that_is_too_fine_at_any_step_is_refused():
    graph = vg.VesselGraph.from_paths([[[0, 0, 0], [300, 0, 0]]], [[5.0, 0.3]])
    tiny = SurfaceConfig(max_blocks=2)
    with pytest.raises(BudgetError, match=r"surface\.max_blocks"):
        pipeline._draw_surface(graph, tiny, tiny, RunLog(), silent)


def test_each_named_tree_has_a_closed_surface_of_its_own():
    graph = vg.VesselGraph.from_paths(
        [[[0, 0, 0], [20, 0, 0]], [[20, 0, 0], [20, 20, 0]], [[50, 0, 0], [60, 0, 0]]], [[2.0, 2.0]] * 3
    )
    assert pipeline.tree_surfaces(graph, SurfaceConfig()) == {}
    meshes = pipeline.tree_surfaces(graph.with_columns(edge={"tree": np.array([1, 2, 0])}), SurfaceConfig())
    assert list(meshes) == ["portal", "hepatic"]
    for branch, mesh in enumerate(meshes.values()):
        assert set(mesh.point_data["branch_id"].tolist()) == {branch}
        check = vg.check_surface(mesh)
        assert check.is_sound
        assert check.volume == pytest.approx(np.pi * (4 * 20 + 4 / 3 * 8), rel=0.03)
