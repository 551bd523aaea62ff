"""Building the network that a decoder belongs to."""

from gkdbench.detection.detector import Detector
from gkdbench.models.encoder import Encoder
from gkdbench.models.network import Network
from gkdbench.models.segmentor import Segmentor
from gkdbench.spec.decoder import Decoder
from gkdbench.spec.task import TaskName

NETWORKS: dict[TaskName, type[Network]] = {"segmentation": Segmentor, "detection": Detector}


def build_network(encoder: Encoder, decoder: Decoder, num_classes: int) -> Network:
    """Join an encoder with a place for the decoder's head; see `Network.add_head`."""
    return NETWORKS[decoder.task](encoder, decoder, num_classes)
