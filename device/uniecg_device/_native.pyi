import numpy as np
from numpy.typing import NDArray

CHECKSUM_NONE: int
CHECKSUM_SUM8: int
CHECKSUM_XOR8: int

def abi_version() -> int: ...

class Framer:
    """One frame grammar at work; one thread pushes, one pulls. See uniecg.h."""

    def __init__(
        self,
        *,
        sync: bytes,
        ring_samples: int,
        channels: list[tuple[list[tuple[int, int, int]], bool, float, float, tuple[int, int, int] | None]],
        fixed_length: int = 0,
        length: list[tuple[int, int, int]] = ...,
        length_adds: int = 0,
        min_length: int = 0,
        max_length: int = 0,
        header: list[tuple[int, int, int]] = ...,
        footer: list[tuple[int, int, int]] = ...,
        checksum: tuple[int, int, int, int, bool] = ...,
        kind: list[tuple[int, int, int]] = ...,
        data_kind: int = 0,
        counter: list[tuple[int, int, int]] = ...,
        counter_modulus: int = 0,
        samples_per_frame: int = 1,
        sample_stride: int = 0,
    ) -> None: ...
    def push(self, data: bytes | bytearray | memoryview) -> None: ...
    @property
    def available(self) -> int: ...
    def pull(self, max_samples: int) -> tuple[NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint64]]: ...
    def pull_counts(self, max_samples: int) -> tuple[NDArray[np.int32], NDArray[np.uint32], NDArray[np.uint64]]: ...
    def pull_message(self) -> bytes | None: ...
    def counters(self) -> dict[str, int]: ...
