"""From a folder of DICOM files to a vessel graph, a surface and a report.

    python examples/reconstruct_dicom_folder.py FOLDER OUT

Without arguments it makes its own small DICOM series first.
"""

import sys
import tempfile
from pathlib import Path

import vesselgraph as vg
from vesselgraph.config import PhantomConfig


def main(folder: Path, out: Path) -> vg.Reconstruction:
    for series in vg.list_series(folder):
        print("found:", series)
    image = vg.read_image(folder)  # several series? then add series=2
    result = vg.reconstruct(image)
    vg.write_results(result, out)

    for warning in result.run["warnings"]:
        print("warning:", warning)
    print(f"{result.graph.n_edges} branches, {result.graph.length:.0f} mm; open {out / 'report.html'}")
    return result


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            phantom = vg.make_phantom(
                PhantomConfig(shape=(72, 72, 72), spacing=(1.4, 1.4, 1.4), n_tips=6, portal_contrast=180, hepatic_contrast=180)
            )
            vg.write_dicom_series(phantom.image, Path(scratch) / "dicom")
            result = main(Path(scratch) / "dicom", Path(scratch) / "out")
            scores = vg.compare_graphs(result.graph, phantom.graph).to_dict()
            print(scores)
            assert (Path(scratch) / "out/report.html").stat().st_size > 100_000
            assert result.graph.length > 0.5 * phantom.graph.length
