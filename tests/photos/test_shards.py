"""Photos in tar archives: found where they lie, and nothing taken from an archive that is not whole."""

import bz2
import gzip
import io
import lzma
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from photorank.errors import PhotoError
from photorank.photos.shards import index_shards, index_tar, read_member

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
reusing = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """The bytes of an archive with a folder, the files, a link to the first, and a symbolic link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind in (("hard", tarfile.LNKTYPE), ("soft", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, next(iter(files))
            archive.addfile(info)
    return out.getvalue()


names = st.text("abé0- ", min_size=1, max_size=40).map(lambda name: f"f/{name.strip()}x.jpg")


@given(st.dictionaries(names, st.binary(min_size=1, max_size=2000), min_size=1, max_size=4), st.sampled_from(FORMATS))
@reusing
def test_members_are_read_as_they_went_in(tmp_path: Path, files: dict[str, bytes], form: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of(files, form))
    index = index_tar(path)
    assert {name: read_member(member) for name, member in index.items() if name != "hard"} == files
    assert read_member(index["hard"]) == next(iter(files.values()))


def test_names_are_normalised_and_the_later_of_two_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("./photos/" + "long" * 60 + "/1.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    index = index_tar(path)
    assert [read_member(member) for member in index.values()] == [b"newer"]
    assert list(index) == ["photos/" + "long" * 60 + "/1.jpg"]


@given(st.data())
@reusing
def test_an_archive_that_was_cut_off_anywhere_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = tar_of({"a.jpg": b"a" * 700, "f/b.jpg": b"b" * 513, "c.jpg": b"c"})
    end = len(whole.rstrip(b"\0"))
    end += -end % 512
    cut = data.draw(st.integers(0, end + 511))
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[:cut])
    with pytest.raises(PhotoError, match=r"cut\.tar .*(truncated|not a tar archive).*; copy or make it again"):
        index_tar(path)
    path.write_bytes(whole[: end + 512])
    assert set(index_tar(path)) == {"a.jpg", "f/b.jpg", "c.jpg", "hard"}


@pytest.mark.parametrize(
    ("compress", "name"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz")]
)
def test_compressed_archives_are_refused(tmp_path: Path, compress: object, name: str) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(compress(tar_of({"a.jpg": b"a"})))  # type: ignore[operator]
    with pytest.raises(PhotoError, match=rf"a\.tar is compressed \({name}\).* decompress it to a plain \.tar"):
        index_tar(path)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(PhotoError, match=r"a\.tar is not a tar archive"):
        index_tar(tmp_path / "a.tar")
    with pytest.raises(PhotoError, match=r"b\.tar cannot be read \(No such file"):
        index_tar(tmp_path / "b.tar")


def test_a_name_in_two_archives_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.tar").write_bytes(tar_of({"1.jpg": name.encode(), f"{name}.jpg": b"x"}))
    with pytest.raises(PhotoError, match=r"b\.tar and .*a\.tar both hold 1\.jpg"):
        index_shards([tmp_path / "a.tar", tmp_path / "b.tar"])


def test_a_member_of_an_archive_that_was_cut_since_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_of({"1.jpg": b"x" * 600, "empty.jpg": b""}))
    index = index_tar(path)
    with pytest.raises(PhotoError, match=r"^is empty"):
        read_member(index["empty.jpg"])
    path.write_bytes(path.read_bytes()[: index["1.jpg"].offset + 100])
    with pytest.raises(PhotoError, match=r"^cannot be read .the archive was cut short"):
        read_member(index["1.jpg"])
    path.unlink()
    with pytest.raises(PhotoError, match=r"^cannot be read .No such file"):
        read_member(index["1.jpg"])
