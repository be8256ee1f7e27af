"""The demo data: 1797 handwritten digits as pictures, with the known answers.

The pictures are the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI
Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0), as shipped with scikit-learn, enlarged by
`make.py`. `answers.csv` names each picture with its digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path


@contextmanager
def folder() -> Iterator[Path]:
    """The folder that holds `answers.csv` and `images/`, also where the package is not installed as plain files."""
    with as_file(files(__name__)) as path:
        yield path
