"""Tasks on whole images, on one frozen encoder each: classification with honest uncertainty.

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vesselgraph.imaging.classifier import Classifier as Classifier
    from vesselgraph.imaging.classifier import Prediction as Prediction
    from vesselgraph.imaging.classifier import load_classifier as load_classifier
    from vesselgraph.imaging.training import ClassifierTraining as ClassifierTraining
    from vesselgraph.imaging.training import train_classifier as train_classifier

_HOME = {
    "Classifier": "classifier",
    "ClassifierTraining": "training",
    "Prediction": "classifier",
    "load_classifier": "classifier",
    "train_classifier": "training",
}
__all__ = ["Classifier", "ClassifierTraining", "Prediction", "load_classifier", "train_classifier"]


def __getattr__(name: str) -> Any:
    """Return a public name, loading its module when it is first asked for.

    Raises
    ------
    AttributeError
        There is no such name.
    """
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
