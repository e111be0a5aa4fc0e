"""The store: files that survive the death of a run, each trusted only while it is intact."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from compressc.errors import OutputError
from compressc.writing import write_atomically

_MAGIC = b"compressc-store-1 "
_DIGEST_LENGTH = 64
# Digits of an identity in names of files: enough to tell runs apart in one folder.
_SHOWN = 16


class Store:
    """A folder with state of one run: everything in it belongs to one identity.

    Every file begins with a digest of its content, its name and the identity. A file that was cut
    short, lost a bit, or belongs to another run or another name, is as good as none.

    Args:
        folder: made when the first file is written. Several stores may share it, since the
            identity is part of every file's name.
        identity: see :func:`compressc.store.identity.identify`.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self._identity = folder, identity

    def path(self, name: str, suffix: str = "state") -> Path:
        """Return where something is kept; logs that grow line by line are written there directly.

        Args:
            name: what it is, such as "trials".
            suffix: of the file.
        """
        return self.folder / f"{name}-{self._identity[:_SHOWN]}.{suffix}"

    def has(self, name: str) -> bool:
        """Return whether something is kept under a name, intact or not."""
        return self.path(name).is_file()

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name, None where there is nothing or it is damaged."""
        try:
            stored = self.path(name).read_bytes()
        except OSError:
            return None
        start = len(_MAGIC) + _DIGEST_LENGTH
        content = stored[start:]
        return content if stored[:start] == self._header(name, content) else None

    def save(self, name: str, content: bytes) -> None:
        """Put content under a name: all of it, or what was there before stays.

        Raises:
            OutputError: if it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: state of this run cannot be kept ({error.strerror}); choose "
                "another --work-dir"
            ) from error
        header = self._header(name, content)
        # Written by Python itself: other writers hide why a disk took no more.
        write_atomically(self.path(name), lambda place: place.write_bytes(header + content))

    def keep_only(self, name: str) -> None:
        """Remove everything else from the folder, such as the state of work that is done now."""
        for path in self.folder.iterdir():
            if path != self.path(name):
                remove_path(path)

    def _header(self, name: str, content: bytes) -> bytes:
        digest = hashlib.sha256(f"{self._identity} {name} ".encode())
        digest.update(content)
        return _MAGIC + digest.hexdigest().encode()


def remove_path(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; a link is removed, not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
