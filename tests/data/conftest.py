"""Small image files, made on the spot."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


def picture(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """Random pixels; size is (width, height)."""
    rng = np.random.default_rng(seed)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))


def encoded(image: Image.Image, suffix: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format={".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}[suffix])
    return buffer.getvalue()


@pytest.fixture
def make_picture() -> Callable[..., Image.Image]:
    return picture


@pytest.fixture
def make_bytes() -> Callable[[Image.Image, str], bytes]:
    return encoded


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """Write {name: image or bytes} below tmp_path/name."""

    def write(files: Mapping[str, Image.Image | bytes], name: str = "images") -> Path:
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        for file, content in files.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            data = content if isinstance(content, bytes) else encoded(content, Path(file).suffix)
            (root / file).write_bytes(data)
        return root

    return write


@pytest.fixture
def archive(tmp_path: Path) -> Write:
    """Write {name: image or bytes} into tmp_path/name.zip."""

    def write(files: Mapping[str, Image.Image | bytes], name: str = "images") -> Path:
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as z:
            for file, content in files.items():
                z.writestr(
                    file, content if isinstance(content, bytes) else encoded(content, Path(file).suffix)
                )
        return path

    return write
