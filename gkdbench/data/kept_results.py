"""What was found out about files, kept on disk as one JSON object per line: it is not found out again."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gkdbench.errors import DataError


class KeptResults:
    """A file of results by key; a line that a killed process left unfinished does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Any]:
        """Return the results so far; of two for a key the later one."""
        found: dict[str, Any] = {}
        try:
            lines = self.path.read_bytes().splitlines() if self.path.is_file() else []
        except OSError as error:
            raise self._refused(error) from error
        for line in lines:
            try:
                content = json.loads(line)
            except ValueError:  # cut short by the end of its process, or no text at all
                continue
            found.update(content if isinstance(content, dict) else {})
        return found

    def add(self, results: Iterable[Mapping[str, Any]]) -> None:
        """Append results, which are on disk when this returns."""
        text = "".join(json.dumps(result, separators=(",", ":")) + "\n" for result in results)
        if not text:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                if stream.tell() and self._last(stream) != b"\n":
                    text = "\n" + text
                stream.write(text.encode())
        except OSError as error:
            raise self._refused(error) from error

    def forget(self) -> None:
        """Start anew."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._refused(error) from error

    @staticmethod
    def _last(stream: Any) -> bytes:
        stream.seek(-1, 2)
        last: bytes = stream.read(1)
        return last

    def _refused(self, error: OSError) -> DataError:
        return DataError(
            f"{self.path}: what was learnt of data cannot be kept there ({error.strerror or error}); set GKDBENCH_CACHE"
        )
