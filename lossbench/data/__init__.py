"""Data sets: one function each, from files or scikit-learn to a `Source`; `prepare` makes it a `Dataset`."""

from __future__ import annotations

from lossbench.data.arrays import arrays
from lossbench.data.bundled import breast_cancer, digits, wine
from lossbench.data.cifar import cifar10, cifar100
from lossbench.data.dataset import Dataset, Examples, Source
from lossbench.data.folder import image_folder
from lossbench.data.house_numbers import svhn
from lossbench.data.hugging_face import hugging_face
from lossbench.data.idx import fashion_mnist, mnist
from lossbench.data.land_cover import land_cover
from lossbench.data.listed import image_csv
from lossbench.data.mixture import gaussian_log_posterior, gaussian_means, gaussians
from lossbench.data.pets import oxford_pet
from lossbench.data.shapes import shapes

__all__ = [
    "Dataset",
    "Examples",
    "Source",
    "arrays",
    "breast_cancer",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "gaussian_log_posterior",
    "gaussian_means",
    "gaussians",
    "hugging_face",
    "image_csv",
    "image_folder",
    "land_cover",
    "mnist",
    "oxford_pet",
    "shapes",
    "svhn",
    "wine",
]
