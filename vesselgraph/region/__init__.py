"""Where vessels are looked for: a given organ mask, an estimate of the liver, or the whole field of view."""

from vesselgraph.region.estimate import estimate_region
from vesselgraph.region.given import region_from_mask
from vesselgraph.region.model import Region

__all__ = ["Region", "estimate_region", "region_from_mask"]
