"""All that a reader of an odd format needs: `from gkdbench.readers import ...`.

A reader is a class made of `Split`. Its fields are the keys that a benchmark's YAML may say (unknown ones are errors),
and its `open` returns a `Dataset`: how many images there are, what they are called, and each one when it is asked for.
`gkdbench new reader NAME` writes one to start from.

Of `Opening` a reader uses `root(name)`, a folder below the data root, and `labels`: the benchmark's `classes` in the
order of their indices and its `ignore` value. `labelled` False means that labels need not be there.

What a `Dataset` says with `files` is hashed: results made of other files are not taken for results of these. The code
of the reader and what the YAML says to it count as well.

A test of a reader opens what it reads with `open_split`, as a benchmark does: a `LabelSpace` stands for the benchmark,
and a `DataPlace` says where the data lie.
"""

from gkdbench.data.dataset import DataPlace, Dataset, LabelSpace, Opening, open_split
from gkdbench.errors import DataError, UsageError
from gkdbench.spec.objects import Objects
from gkdbench.spec.split import Split, find_reader

__all__ = [
    "DataError", "DataPlace", "Dataset", "LabelSpace", "Objects", "Opening", "Split", "UsageError", "find_reader",
    "open_split",
]  # fmt: skip
