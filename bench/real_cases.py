"""Every real or independently generated image at hand through the command line at defaults, scored where a truth exists.

``python bench/real_cases.py --doc docs/real-data.md`` runs all of them and rewrites the tables of that page, so that every row
is of one version and one day. The output folders are kept (``--keep FOLDER``), with one ``row.json`` each: a run that was
stopped goes on where it was, ``--again`` starts anew. A case may take 300 processor seconds.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from scipy import ndimage

from vesselgraph.errors import VesselGraphError
from vesselgraph.graph import VesselGraph
from vesselgraph.io import read_graph, read_heatmap, read_mask
from vesselgraph.metrics import compare_graphs, skeleton_graph
from vesselgraph.volume import Volume

LIMIT = 300
WALL_LIMIT = 1200
TOLERANCES = (2.0, 3.0)
STAGES = ("region", "heatmap", "trace", "prune", "surface")
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Truth:
    """What the centerlines are compared with, and the mask they count in (grown by 5 mm)."""

    name: str
    graph: Callable[[Path], VesselGraph]
    region: str = ""


@dataclass(frozen=True)
class Case:
    """One command line: its name in the tables, the arguments (paths from the data folder in braces), its truths."""

    key: str
    title: str
    arguments: tuple[str, ...]
    truths: tuple[Truth, ...] = field(default=())


def masks(*names: str) -> Callable[[Path], VesselGraph]:
    """Return the skeleton of the union of drawn masks."""

    def build(folder: Path) -> VesselGraph:
        volumes = [read_mask(folder / name) for name in names]
        return skeleton_graph(volumes[0].with_array(np.logical_or.reduce([volume.array for volume in volumes])))

    return build


def own_mask(name: str) -> Callable[[Path], VesselGraph]:
    """Return the skeleton of the mask that is traced."""
    return lambda folder: skeleton_graph(read_heatmap(folder / name).heat)


def tree(name: str) -> Callable[[Path], VesselGraph]:
    """Return a generator's tree: it counts millimetres from the corner voxel in the axes of a RAS image."""

    def build(folder: Path) -> VesselGraph:
        graph = read_graph(folder / name)
        return replace(graph, node_position=graph.node_position * RAS_TO_LPS, path_position=graph.path_position * RAS_TO_LPS)

    return build


def tube(name: str) -> Callable[[Path], VesselGraph]:
    """Return the analytic tube of an ITK scene file: rows of x, y, z, radius in mm."""

    def build(folder: Path) -> VesselGraph:
        rows = (folder / name).read_text(encoding="ascii").split("\nPoints =")[1].splitlines()
        values = np.array([row.split()[:4] for row in rows if len(row.split()) > 4], dtype=np.float64)
        return VesselGraph.from_paths([values[:, :3]], [values[:, 3]])

    return build


def cases() -> tuple[Case, ...]:
    """Return every case."""
    ircad, abdomen, chest = "ircadb01_p01", "ts_abdomen", "chest_ct_lidc0314"
    in_liver = Truth(
        "portal + hepatic in the liver",
        masks(f"{ircad}/portalvein.nii.gz", f"{ircad}/venoussystem.nii.gz"),
        f"{ircad}/liver.nii.gz",
    )
    anywhere = Truth(
        "portal, venous, artery anywhere", masks(*(f"{ircad}/{n}.nii.gz" for n in ("portalvein", "venoussystem", "artery")))
    )
    portal = Truth("the mask itself", own_mask(f"{ircad}/portalvein.nii.gz"))
    heart, lung = "ts_cta_heart_aorta", "ts_cta_pulmonary"
    found = [
        Case(
            "ircad-mask",
            "3D-IRCADb-01 patient 1, portal CT, 512x512x129, 0.57x0.57x1.6 mm, liver mask given",
            (f"{{{ircad}/ct.nii.gz}}", "--mask", f"{{{ircad}/liver.nii.gz}}"),
            (in_liver,),
        ),
        Case("ircad", "the same without a mask", (f"{{{ircad}/ct.nii.gz}}",), (in_liver, anywhere)),
        Case(
            "abdomen-dicom",
            "DICOM series of 20 slices, abdomen CT, 512x512x20, 0.98x0.98x2 mm",
            (f"{{{abdomen}/example_ct_dicom}}",),
        ),
        Case("abdomen", "abdomen CT without contrast, 122x101x112, 3 mm", (f"{{{abdomen}/example_ct.nii.gz}}",)),
        Case("abdomen-slab", "30 planes of such a CT", (f"{{{abdomen}/example_ct_sm.nii.gz}}",)),
        Case("abdomen-mr", "abdomen MR, 117x91x20, 3 mm", (f"{{{abdomen}/example_mr_sm.nii.gz}}",)),
        Case(
            "aorta",
            "chest CTA, aortic dissection, 120x126x164, 1.5 mm",
            (f"{{{heart}/ct_cropped.nii.gz}}",),
            (Truth("aorta", masks(f"{heart}/aorta.nii.gz")),),
        ),
        Case(
            "pulmonary",
            "chest CTA, pulmonary trunk, 122x102x112, 1.5 mm",
            (f"{{{lung}/ct_cropped.nii.gz}}",),
            (Truth("pulmonary artery", masks(f"{lung}/pulmonary_artery.nii.gz")),),
        ),
        Case("lung", "chest CT, lung crop, 190x210x160, 0.78x0.78x1 mm", (f"{{{chest}/lung_crop_native.nii.gz}}",)),
        Case("chest", "chest CT, whole, 200x200x138, 2 mm", (f"{{{chest}/chest_2mm.nii.gz}}",)),
        Case("head", "head CT, 256x256x108, 0.96x0.96x1.5 mm", ("{head_ct_cranium/cranium_ct.nii.gz}",)),
        Case("mra", "MR angiography, fistula, 74x93x20, 0.72x0.72x1 mm, NIfTI", ("{mra_avf/avf_float_32.nii.gz}",)),
        Case("mra-nrrd", "the same as NRRD", ("{mra_avf/avf_float_32.nrrd}",)),
        Case(
            "mr-4d",
            "MR of the abdomen, five contrasts in one file (4-D)",
            ("{abdomen_mri_multicontrast/vfa_5contrasts.nii.gz}",),
        ),
        Case(
            "tube",
            "analytic spiral tube, 128x128x128, 1 mm (.mhd)",
            ("{tube_itk_minpath/Synthetic-04.mhd}",),
            (Truth("analytic", tube("tube_itk_minpath/Synthetic-04-Tube.mhd")),),
        ),
        Case(
            "portal-mask",
            "expert portal vein mask alone, --heatmap",
            ("--heatmap", f"{{{ircad}/portalvein.nii.gz}}"),
            (portal,),
        ),
    ]
    for number in (1085, 1094, 1161):
        name = f"masks_liver_crlm/CRLM-CT-{number}_0000_seg_mask.nii.gz"
        found.append(
            Case(
                f"crlm-{number}",
                f"liver vessel mask alone, 7.5 mm slices, patient {number}",
                ("--heatmap", f"{{{name}}}"),
                (Truth("the mask itself", own_mask(name)),),
            )
        )
    for name, title in (
        ("svv_v1_n40_ell", "svVascularize, 40 tips, 1 mm"),
        ("svv_v4_n90_cube", "svVascularize, 90 tips, 0.6 mm"),
    ):
        truth = Truth("tree", tree(f"synth/{name}/tree1.swc"))
        image, organ = f"{{synth/{name}/ct_like.nii.gz}}", f"{{synth/{name}/organ.nii.gz}}"
        found.append(Case(name, f"{title}, organ mask", (image, "--mask", organ), (truth,)))
        if "v1" in name:
            found.append(Case(f"{name}-whole", "the same without the organ mask", (image,), (truth,)))
    noises = {
        "clean": "no noise",
        "noise_vs_gauss20": "noise 20",
        "noise_vs_shadow60_gauss40": "shadows, noise 40",
        "noise_np_bg90_sigma12": "noise 12",
    }
    for name, title in (
        ("s01_n20_101", "20 tips, 0.4 mm"),
        ("s02_n50_101", "50 tips, 0.4 mm"),
        ("s03_n120_101", "120 tips, 0.4 mm"),
        ("s06_n60_201", "60 tips, 0.2 mm"),
    ):
        place = f"synth/vascusynth_{name}"
        kinds = ("clean", "noise_np_bg90_sigma12") if "s06" in name else tuple(noises)[:3]
        for kind in kinds:
            arguments = (f"{{{place}/{kind}.nii.gz}}",)
            found.append(
                Case(
                    f"{name}-{kind}",
                    f"VascuSynth, {title}, {noises[kind]}",
                    arguments,
                    (Truth("tree", tree(f"{place}/tree.swc")),),
                )
            )
    return tuple(found)


def main() -> None:
    args = harness.arguments("Real images through the command line.", seeds=(), more=_options)
    folder = harness.data_folder()
    chosen = [case for case in cases() if not args.only or case.key in args.only]
    if args.small:
        chosen = [case for case in chosen if case.key == "mra"]
    here = [case for case in chosen if all(_path(text, folder).exists() for text in case.arguments if text.startswith("{"))]
    if not here:
        print(f"skipped: no case under {folder}; set VESSELGRAPH_DATA")
    rows = []
    for case in here:
        place = args.keep / case.key
        saved = place / "row.json"
        if saved.is_file() and not args.again:
            rows.append(json.loads(saved.read_text(encoding="utf-8")))
            continue
        row = run(case, folder, place)
        place.mkdir(parents=True, exist_ok=True)
        saved.write_text(json.dumps(row, indent=1), encoding="utf-8")
        print(f"{case.key}: {row['state']}, {row['wall']:.0f} s, {row['cpu']:.0f} CPU s", flush=True)
        rows.append(row)
    tables = {"runs": run_table(rows), "stages": stage_table(rows), "scores": score_table(rows)}
    for table in tables.values():
        print("\n" + table)
    if args.doc:
        rewrite(args.doc, tables)
    harness.finish(args, "real_cases", {"rows": rows})


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=Path, default=Path("out/real"), help="folder for the results")
    parser.add_argument("--only", nargs="*", help="keys of cases")
    parser.add_argument("--again", action="store_true", help="run cases again that have a result")
    parser.add_argument("--doc", type=Path, help="page whose tables are rewritten")


def _path(text: str, folder: Path) -> Path:
    return folder / text.strip("{}")


def run(case: Case, folder: Path, place: Path) -> dict[str, Any]:
    """Return what one command line did: its exit, costs, record and scores."""
    arguments = [str(_path(text, folder)) if text.startswith("{") else text for text in case.arguments]
    command = [sys.executable, "-m", "vesselgraph", "reconstruct", *arguments, "--out", str(place), "--quiet"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WALL_LIMIT, check=False, preexec_fn=_limit)
        state, said = _state(done.returncode), done.stderr
    except subprocess.TimeoutExpired:
        state, said = "stopped", ""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    row: dict[str, Any] = {"key": case.key, "title": case.title, "state": state, "said": said.strip()}
    row["wall"] = time.perf_counter() - start
    row["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if state == "done":
        row["run"] = json.loads((place / "run.json").read_text(encoding="utf-8"))
        del row["run"]["config"]
        row["scores"] = scores(case, folder, read_graph(place / "graph.json"))
    return row


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))


def _state(code: int) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return "stopped"
    return "done" if code == 0 else f"exit code {code}"


def scores(case: Case, folder: Path, graph: VesselGraph) -> list[dict[str, Any]]:
    """Return the scores of a graph against each truth of its case."""
    rows = []
    for truth in case.truths:
        inside = _grown(read_mask(folder / truth.region)) if truth.region else None
        try:
            result = compare_graphs(graph, truth.graph(folder), tolerances=TOLERANCES, region=inside)
        except VesselGraphError as error:
            rows.append({"truth": truth.name, "failed": str(error)})
            continue
        lines = {f"{t:g}": [s.precision, s.recall, s.f1] for t, s in result.centerline.items()}
        more = {"length": result.length_ratio, "branch": result.branch.f1, "bifurcation": result.bifurcation.f1}
        rows.append({"truth": truth.name, "centerline": lines, **more, "radius": [result.radius.mae, result.radius.bias]})
    return rows


def _grown(mask: Volume) -> Volume:
    return mask.with_array(ndimage.distance_transform_edt(mask.array == 0, sampling=mask.space.spacing) <= 5.0)


def run_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return what every run gave, as Markdown."""
    head = [
        "image",
        "region",
        "s, wall / processor",
        "GB, peak",
        "length, m",
        "branches / trees / loops",
        "surface, ml",
        "surface sound",
        "its volume error",
    ]
    lines = []
    for row in rows:
        costs = f"{row['wall']:.0f} / {row['cpu']:.0f}"
        record = row.get("run")
        if record is None:
            lines.append([row["title"], row["state"], costs, *["-"] * 6])
            continue
        graph, surface = record["graph"], record["surface"]
        sound = surface["closed"] and surface["two_manifold"] and surface["outward"]
        lines.append(
            [
                *(row["title"], record["region"]["kind"], costs, f"{record['peak_memory_gb']['largest']:.1f}"),
                f"{graph['length'] / 1000:.2f}",
                f"{graph['n_branches']} / {graph['n_trees']} / {graph['n_loops']}",
                f"{surface['volume'] / 1000:.1f}",
                "yes" if sound else "**no**",
                f"{100 * surface['volume_error_fraction']:+.2f} %" if graph["n_branches"] else "-",
            ]
        )
    return _markdown(head, lines)


def stage_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return where the processor seconds of the stages go, as Markdown."""
    lines = []
    for row in rows:
        if "run" in row and row["run"]["cpu_seconds"]["total"] >= 10:
            costs = row["run"]["cpu_seconds"]
            shares = [f"{100 * costs[stage] / costs['total']:.0f} %" for stage in STAGES]
            lines.append([row["title"], *shares, f"{costs['total']:.0f} s"])
    return _markdown(["image", *STAGES, "all stages, processor"], lines)


def score_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the scores, as Markdown."""
    head = [
        "image",
        "truth",
        "2 mm: P / R / F1",
        "3 mm: P / R / F1",
        "length, found / true",
        "F1 of branches / branch points",
        "radius error (bias), mm",
    ]
    lines = []
    for row in rows:
        for entry in row.get("scores", ()):
            if "failed" in entry:
                lines.append([row["title"], entry["truth"], entry["failed"], *["-"] * 4])
                continue
            shown = ["{:.2f} / {:.2f} / **{:.2f}**".format(*entry["centerline"][f"{t:g}"]) for t in TOLERANCES]
            mae, bias = entry["radius"]
            lines.append(
                [
                    *(row["title"], entry["truth"], *shown, f"{entry['length']:.2f}"),
                    f"{entry['branch']:.2f} / {entry['bifurcation']:.2f}",
                    f"{mae:.2f} ({bias:+.2f})" if np.isfinite(mae) else "-",
                ]
            )
    return _markdown(head, lines)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def rewrite(page: Path, tables: dict[str, str]) -> None:
    """Put the tables between their marks, ``<!-- runs -->`` to ``<!-- /runs -->`` and so on."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        start, mark, rest = text.partition(f"<!-- {name} -->")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if mark and end:
            text = f"{start}{mark}\n{table}\n{end}{after}"
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
