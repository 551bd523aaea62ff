"""The tasks that there are. A third one is one more room beside gkdbench.detection, and one more line here."""

from gkdbench.detection.task import Detection
from gkdbench.models.encoder import Encoder
from gkdbench.models.network import Network
from gkdbench.runs.segmentation import Segmentation
from gkdbench.runs.task import TaskRoom
from gkdbench.spec.benchmark import Benchmark
from gkdbench.spec.task import TaskName

ROOMS: dict[TaskName, TaskRoom] = {"segmentation": Segmentation(), "detection": Detection()}


def room_of(benchmark: Benchmark) -> TaskRoom:
    """Return what a benchmark's task brings."""
    return ROOMS[benchmark.task]


def network_of(benchmark: Benchmark, encoder: Encoder) -> Network:
    """Join an encoder with a place for the head of the benchmark's decoder; see `Network.add_head`."""
    return room_of(benchmark).network(encoder, benchmark.decoder, len(benchmark.classes))
