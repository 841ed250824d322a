import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesselgraph.budget import as_fine_as_the_data, estimate_memory, quick_enough
from vesselgraph.config import PipelineConfig, SurfaceConfig
from vesselgraph.errors import BudgetError
from vesselgraph.graph import VesselGraph


def estimate(shape=(130, 512, 512), spacing=(1.6, 0.6, 0.6), config=None, **more):
    return estimate_memory(shape, spacing, config or PipelineConfig(), **more)


def test_whole_abdomen_fits_the_default_bound():
    estimate().require(PipelineConfig())


def test_bound_is_checked_and_all_three_facts_are_said():
    config = PipelineConfig(max_memory_gb=1.0)
    with pytest.raises(BudgetError, match=r"at most 1 GB .*estimate of .* GB .*raise heatmap\.step"):
        estimate().require(config)


def test_region_lowers_the_need_of_the_tracing_grid_only():
    whole, part = estimate(), estimate(traced_extent=(100.0, 150.0, 150.0))
    assert part.tracing_gb < whole.tracing_gb / 8
    assert part.image_gb == whole.image_gb


def test_extent_beyond_the_image_counts_as_the_image():
    assert estimate(traced_extent=(1e6, 1e6, 1e6)).tracing_gb == estimate().tracing_gb


def test_given_heatmap_is_traced_on_its_own_grid():
    small, large = estimate(heatmap=(100, 100, 100)), estimate(heatmap=(200, 200, 200))
    assert large.tracing_gb == pytest.approx(8 * small.tracing_gb)
    assert large.image_gb == small.image_gb == estimate().image_gb


def test_half_the_step_needs_eight_times_the_tracing_memory():
    coarse = estimate(shape=(100, 100, 100), spacing=(1, 1, 1), config=PipelineConfig.build(overrides=["heatmap.step=2"]))
    fine = estimate(shape=(100, 100, 100), spacing=(1, 1, 1), config=PipelineConfig.build(overrides=["heatmap.step=1"]))
    assert fine.tracing_gb == pytest.approx(8 * coarse.tracing_gb)


@given(st.integers(1, 4), st.floats(1, 8))
def test_need_grows_with_phases_and_bytes(n_phases, n_bytes):
    more = estimate(n_phases=n_phases + 1, bytes_per_voxel=n_bytes).total_gb
    assert more > estimate(n_phases=n_phases, bytes_per_voxel=n_bytes).total_gb


def test_metres_of_vessels_are_drawn_coarser_unless_fineness_was_asked_for():
    usual = SurfaceConfig()

    def lines(n):
        return VesselGraph.from_paths([[[0, 9.0 * i, 0], [300, 9.0 * i, 0]] for i in range(n)], [[1.0, 1.0]] * n)

    assert quick_enough(VesselGraph.empty(), usual, usual) is usual
    assert quick_enough(lines(3), usual, usual) is usual
    many = quick_enough(lines(200), usual, usual)
    assert many.min_radius > 1.0
    assert many.step > usual.step
    assert many.min_radius <= 2.5
    assert many.max_error / many.min_radius == pytest.approx(usual.max_error / usual.min_radius)
    exact = SurfaceConfig(max_error=0.1)
    assert quick_enough(lines(200), exact, exact).max_error == 0.1
    finer = SurfaceConfig(step=0.4)
    assert quick_enough(lines(200), finer, finer) is finer


def test_surface_is_no_finer_than_the_data_unless_asked_for():
    assert as_fine_as_the_data(SurfaceConfig(), 0.7) == SurfaceConfig()
    coarse = as_fine_as_the_data(SurfaceConfig(step=0.4), 3.0)
    assert coarse.step == 0.4
    assert coarse.min_radius == pytest.approx(3 * SurfaceConfig().min_radius)
    assert coarse.max_error == pytest.approx(3 * SurfaceConfig().max_error)
    SurfaceConfig.model_validate(as_fine_as_the_data(SurfaceConfig(), 50.0).model_dump())


def test_a_network_needs_more_on_the_tracing_grid_only():
    ridge, network = (estimate(config=PipelineConfig.build(overrides=[f"heatmap.method={m}"])) for m in ("ridge", "network"))
    assert network.image_gb == ridge.image_gb
    assert network.tracing_gb > 1.3 * ridge.tracing_gb
