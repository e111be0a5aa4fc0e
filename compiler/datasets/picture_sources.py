"""Picture sources: folders and tar archives of image files, listed and read in one way."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from compressc.datasets.picture_names import place_of
from compressc.errors import DataError

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst")


class Stored(NamedTuple):
    """Where one picture is: its name, the place that the source reads it by, and its bytes."""

    name: str
    place: int
    size: int


class PictureSource(Protocol):
    """Encoded pictures, each with a name such as ``train/cat/7.png``."""

    @property
    def name(self) -> str:
        """What the data set is called."""
        ...

    @property
    def classes(self) -> Mapping[str, str] | None:
        """The class that each folder stands for, in the order of labels; None for the folders."""
        ...

    @property
    def can_seek(self) -> bool:
        """Whether any picture can be read without reading those before it."""
        ...

    def identity(self) -> str:
        """Return a digest that changes when a picture does."""
        ...

    def list(self) -> Iterator[Stored]:
        """Yield where every picture is."""
        ...

    def read(self, stored: Stored) -> bytes:
        """Return one picture as it is stored.

        Raises:
            DataError: if it is not there any more.
        """
        ...

    def walk(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) of every picture, in the order of storage.

        Raises:
            DataError: if the source is damaged.
        """
        ...


@dataclass(frozen=True)
class FolderSource:
    """Image files below a folder."""

    folder: Path
    classes: None = None
    can_seek: bool = True

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def identity(self) -> str:
        """Return a digest of names, sizes and times of change."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode())
        for name in sorted(self._names()):
            stat = (self.folder / name).stat()
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode(errors="replace"))
        return digest.hexdigest()

    def list(self) -> Iterator[Stored]:
        """Yield every image file; its name is enough to read it."""
        for name in self._names():
            yield Stored(name, 0, (self.folder / name).stat().st_size)

    def read(self, stored: Stored) -> bytes:
        """Return the content of a file."""
        try:
            return (self.folder / stored.name).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.folder / stored.name}: cannot be read ({error.strerror})"
            ) from error

    def walk(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) of every image file."""
        for name in self._names():
            yield name, (self.folder / name).read_bytes()

    def _names(self) -> Iterator[str]:
        for root, _, names in os.walk(self.folder):
            below = Path(root).relative_to(self.folder).as_posix()
            for name in names:
                inside = name if below == "." else f"{below}/{name}"
                if place_of(inside) is not None and (self.folder / inside).is_file():
                    yield inside


@dataclass(frozen=True)
class ArchiveSource:
    """Image files in a tar archive; a compressed one can only be read from its start."""

    path: Path
    classes: None = None

    @property
    def name(self) -> str:
        """The archive's name."""
        return self.path.name

    @property
    def can_seek(self) -> bool:
        """Whether the archive is not compressed."""
        return self.path.suffix.lower() not in _COMPRESSED

    def identity(self) -> str:
        """Return a digest of the archive's place, size and time of change."""
        stat = self.path.stat()
        said = f"{self.path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
        return hashlib.sha256(said.encode(errors="replace")).hexdigest()

    def list(self) -> Iterator[Stored]:
        """Yield every image file, with its offset."""
        for _, member in self._members():
            yield Stored(member.name, member.offset_data, member.size)

    def read(self, stored: Stored) -> bytes:
        """Return a member by its offset."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(stored.place)
                return stream.read(stored.size)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error

    def walk(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content) of every image file."""
        for archive, member in self._members():
            try:
                opened = archive.extractfile(member)
                content = b"" if opened is None else opened.read()
            except (tarfile.TarError, EOFError, OSError) as error:
                raise self._damaged(error) from error
            yield member.name, content

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        try:
            with tarfile.open(self.path) as archive:
                for member in archive:
                    if member.isfile() and place_of(member.name) is not None:
                        yield archive, member
                    # What was read of an archive of a million files must not pile up.
                    archive.members = []  # type: ignore[attr-defined]
        except (tarfile.TarError, EOFError, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: not a readable tar archive ({error})")
