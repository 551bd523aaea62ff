"""Leaving the group of processes that train together."""

import gc

import torch.distributed as group


def leave_group() -> None:
    """Wait for the other processes, then end the group while the interpreter still runs; nothing on one device.

    A process that exits with a group open may die in the threads of its backend: they hold tensors whose release needs
    an interpreter that is gone by then (PyTorch's pull request 179291). Call it where nothing that a group
    wrapped is in use any more.
    """
    if not (group.is_available() and group.is_initialized()):
        return
    gc.collect()  # wrapped modules lie in cycles and hold the group
    group.barrier()
    group.destroy_process_group()
