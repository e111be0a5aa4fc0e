"""The handwritten digits of scikit-learn, split three ways.

Source: Alpaydin and Kaynak, UCI "Optical Recognition of Handwritten Digits", 1998: 1,797 grey
images of 8x8 pixels. They come inside scikit-learn, which is imported on use only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DigitsSplit:
    """Three disjoint, stratified parts; images float32 (N, 1, 8, 8) in [0, 1], labels int64 (N,).

    Attributes:
        train_images, train_labels: 60 %, for training.
        val_images, val_labels: 20 %, for model selection and search.
        test_images, test_labels: 20 %, held out for the report.
    """

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    val_images: NDArray[np.float32]
    val_labels: NDArray[np.int64]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int64]


def digits_split(seed: int = 0) -> DigitsSplit:
    """Split the digits 60/20/20 with every class at its share in each part.

    Raises:
        ImportError: if scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed; "
            "install it with: pip install 'compressc[demo]'"
        ) from error

    digits = load_digits()
    images = (digits.images[:, None] / 16.0).astype("float32")
    labels = digits.target.astype("int64")
    images, test_images, labels, test_labels = train_test_split(
        images, labels, test_size=0.2, random_state=seed, stratify=labels
    )
    train_images, val_images, train_labels, val_labels = train_test_split(
        images, labels, test_size=0.25, random_state=seed, stratify=labels
    )
    return DigitsSplit(train_images, train_labels, val_images, val_labels, test_images, test_labels)
