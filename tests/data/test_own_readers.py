"""A reader of a user's own: found by its file or its package, its faults one line, its code part of what was read."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from splits import digest_of, open_in

from gkdbench.data.dataset import DataPlace, LabelSpace
from gkdbench.errors import GkdbenchError, UsageError
from gkdbench.spec.documents import parse
from gkdbench.spec.split import Split

CODE = '''
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from gkdbench.readers import Dataset, DataError, Split

class Mine(Split):
    count: int
    said: str = "fine"
    def open(self, opening):
        if self.said == "raise":
            raise KeyError("none")
        if self.said == "ours":
            raise DataError("nothing there; get it")
        return Images(self.count, self.said) if self.said != "list" else [1, 2]

@dataclass(frozen=True)
class Images(Dataset):
    count: int
    said: str
    def __len__(self): return self.count
    def name(self, index): return str(index)
    def image(self, index):
        if self.said == "unreadable":
            raise ValueError("no such picture")
        return np.zeros((4, 6, 3), np.float32 if self.said == "float" else np.uint8)
    def labels(self, index):
        return np.full((4, 5) if self.said == "smaller" else (4, 6), 7 if self.said == "seven" else 1, np.uint8)
'''
CLASSES = ("sky", "road")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with a reader's file and a folder of data."""
    (tmp_path / "data").mkdir()
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def split_of(home: Path, **fields: Any) -> Split:
    return parse(Split, {"reader": "mine.py:Mine", "count": 3, **fields}, "b.yaml", {"folder": home})


def test_images_are_read(home: Path) -> None:
    dataset = open_in(home, split_of(home), CLASSES)
    assert (len(dataset), dataset.name(2)) == (3, "2")
    assert dataset.image(0).shape == (4, 6, 3) and np.all(dataset.labels(0) == 1)
    assert len(open_in(home, split_of(home), CLASSES).cut(2)) == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reader": "mine.py:Lost"}, "is no class made of gkdbench.readers.Split"),
        ({"reader": "lost.py:Mine"}, "lost.py:Mine: no such file"),
        ({"reader": "folder"}, "reader 'folder' is none of .*; did you mean 'folders'"),
        ({"cuont": 3}, "key 'cuont' is not known; did you mean 'count'"),
        ({"count": "many"}, "key 'count': Input should be a valid integer"),
    ],
)
def test_what_a_yaml_says_wrong(home: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        split_of(home, **fields)
    assert "\n" not in str(caught.value)


def test_a_file_that_fails(home: Path) -> None:
    (home / "mine.py").write_text("import no_such_module\n")
    with pytest.raises(UsageError, match=r"mine\.py:Mine cannot be imported: ModuleNotFoundError"):
        split_of(home)


def test_a_reader_that_opens_nothing_is_told_before_it_is_used(home: Path) -> None:
    (home / "mine.py").write_text("from gkdbench.readers import Split\nclass Mine(Split):\n    count: int\n")
    with pytest.raises(UsageError, match=r"reader .*mine\.py:Mine: has no function `open`"):
        split_of(home)


def test_it_may_import_files_beside_it_whose_code_counts(home: Path) -> None:
    (home / "mine.py").write_text(CODE.replace("count: int\n    said", "count: int = HOW_MANY\n    said", 1))
    (home / "mine.py").write_text("from beside import HOW_MANY\n" + (home / "mine.py").read_text())
    codes = []
    for number in (1, 2):
        (home / "beside.py").write_text(f"HOW_MANY = {number}\n")
        os.utime(home / "mine.py", (number, number))
        split = parse(Split, {"reader": "mine.py:Mine"}, "b.yaml", {"folder": home})
        assert len(open_in(home, split, CLASSES)) == number and "beside" not in sys.modules
        codes.append(split.code)
    assert codes[0] != codes[1]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("raise", "reader mine.py:Mine: open: KeyError: 'none'"),
        ("ours", "^nothing there; get it$"),
        ("list", "open returns a gkdbench.readers.Dataset, not"),
        ("unreadable", "image '0': ValueError: no such picture"),
        ("float", r"image '0': an image is uint8 \[H, W, 3\], and this is float32 \[4, 6, 3\]"),
        ("smaller", r"image '0': labels are uint8 \[4, 6\], and this is uint8 \[4, 5\]"),
        ("seven", "image '0': labels are class indices or the ignore value, and this is 7"),
    ],
)
def test_what_a_reader_does_wrong(home: Path, said: str, message: str) -> None:
    with pytest.raises(GkdbenchError, match=message):
        open_in(home, split_of(home, said=said), CLASSES).pair(0)


def test_code_and_what_the_yaml_says_count(home: Path) -> None:
    place, space = DataPlace(home / "data", home / "cache"), LabelSpace("mine", CLASSES)

    def digest(**fields: Any) -> str:
        return digest_of(split_of(home, **fields), space, home, place)

    first = digest()
    assert digest() == first and digest(said="otherwise") != first
    (home / "mine.py").write_text("# a remark\n" + CODE)
    os.utime(home / "mine.py", ns=(1, 1))
    assert digest() == first
    (home / "mine.py").write_text(CODE.replace("else 1,", "else 0,"))
    os.utime(home / "mine.py", ns=(2, 2))
    assert digest() != first


def test_another_process_reads_too(home: Path) -> None:
    dataset = open_in(home, split_of(home), CLASSES)
    again = "import pickle, sys; print(pickle.load(sys.stdin.buffer).image(1).shape)"
    done = subprocess.run([sys.executable, "-c", again], input=pickle.dumps(dataset), capture_output=True, check=False)
    assert done.stdout == b"(4, 6, 3)\n" or done.stdout == b"(4, 6, 3)\r\n", done.stderr


def test_it_is_shown_by_what_the_yaml_says(home: Path) -> None:
    assert split_of(home).shown() == "mine.py:Mine, count 3"
