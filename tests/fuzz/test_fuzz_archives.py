"""Archives and folders of any names give the pairs that are there, or one line that names what is in the way."""

import io
import tarfile
import unicodedata
import zipfile
from pathlib import Path

from fuzzing import broken, fuzz, told
from hypothesis import given
from hypothesis import strategies as st

from gkdbench.data.files.archives import members
from gkdbench.data.files.tree import find
from gkdbench.errors import DataError

NAMES = ["images/a.png", "images/b.png", "labels/a.png", "x/images/c.png", "readme.txt"]


def zip_of(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in content.items():
            archive.writestr(name, one)
    return stream.getvalue()


def tar_of(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, one in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(one)
            archive.addfile(entry, io.BytesIO(one))
    return stream.getvalue()


CONTENT = {name: name.encode() * 9 for name in NAMES}
PACK = {"a.zip": zip_of, "a.tar": tar_of}


@fuzz(200)
@given(st.sampled_from(sorted(PACK)).flatmap(lambda name: st.tuples(st.just(name), broken(PACK[name](CONTENT)))))
def test_a_broken_archive(tmp_path: Path, drawn: tuple[str, bytes]) -> None:
    name, content = drawn
    path = tmp_path / name
    path.write_bytes(content)
    try:
        for member in members(path):
            found = member.read()
            if name == "a.zip":  # its checksums tell; a tar has none of contents
                assert CONTENT.get(member.path, found) == found
    except DataError as error:
        assert told(error).startswith(str(path))


PARTS = st.sampled_from(["images", "labels", "..", ".", "", "C:", "a\\b", "__MACOSX", ".hidden", "x\x00y", "x\ny"])
STEMS = st.sampled_from(["a", "b", "ä", "a\u0308", "A", "._a", "nul", "a b", "a" * 200])
SUFFIXES = st.sampled_from([".png", ".PNG", ".Png", ".jpg", ""])
PATHS = st.builds(lambda parts, stem, end: "/".join([*parts, stem + end]), st.lists(PARTS, max_size=3), STEMS, SUFFIXES)


@fuzz(200)
@given(st.sets(PATHS, max_size=6), st.sampled_from(sorted(PACK)))
def test_an_archive_of_odd_names(tmp_path: Path, names: set[str], kind: str) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    (tmp_path / kind).write_bytes(PACK[kind]({name: name.encode("utf-8", "replace") for name in sorted(names)}))
    try:
        found = find(tmp_path, "images/{stem}.png", {})
    except DataError as error:
        assert told(error).startswith(str(tmp_path))
        return
    stems = [dict(key)["stem"] for key in found]
    assert len({unicodedata.normalize("NFC", stem).casefold() for stem in stems}) == len(stems)
    for key, member in found.items():
        assert member.read().decode().lower().endswith(".png") and not dict(key)["stem"].startswith(".")
