"""The cache on disk, when others work on it at the same time."""

import errno
import shutil
import uuid
from pathlib import Path

import pytest

from headrace_worker.store import cache, manifest
from headrace_worker.store.files import RemoteFile
from headrace_worker.store.layout import Places
from headrace_worker.store.manifest import Manifest

NEW = Manifest("s3://b", (RemoteFile("new", 3),))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A cache with an old snapshot `h`, and a new one that is complete."""
    here = Places(tmp_path / "hub", "models--o--m")
    for folder, name in ((here.snapshot("h"), "old"), (here.partial / "files", "new")):
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
    manifest.write(here.manifest("h"), Manifest("s3://b", (RemoteFile("old", 3),)))
    return here


def test_the_trash_that_vanishes_leaves_no_old_files_in_a_new_snapshot(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    trash, asked = places.cache / ".headrace/trash", []

    def removing() -> uuid.UUID:
        """Asked for after the trash was made, and before anything is put there."""
        if not asked:
            shutil.rmtree(trash)
        asked.append(trash)
        return uuid.UUID(int=len(asked))

    monkeypatch.setattr(uuid, "uuid4", removing)

    target = cache.land(places, "h", places.partial / "files", NEW)

    assert [path.name for path in target.iterdir()] == ["new"]
    assert manifest.read(places.manifest("h")) == NEW


def test_a_snapshot_that_cannot_land_has_no_manifest(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    files, rename = places.partial / "files", Path.rename

    def fails(self: Path, target: Path) -> Path:
        if self == files:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="not empty"):
        cache.land(places, "h", files, NEW)

    assert manifest.read(places.manifest("h")) is None


def test_emptying_the_trash_leaves_its_folder(places: Places) -> None:
    left = places.cache / ".headrace/trash/left/of/it"
    left.mkdir(parents=True)

    cache.empty_trash(places.cache)

    assert list((places.cache / ".headrace/trash").iterdir()) == []
