"""Tensors of a file that nobody vouches for become a module, or one clear error before any memory is taken."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra `export`")

from torch import Tensor, nn  # noqa: E402

from uniecg_device.errors import InputError  # noqa: E402
from uniecg_export.weights import build, read_state  # noqa: E402

FILE = Path("published.pt")
SIDE = 10**7  # of a matrix that no machine holds

ODD: dict[str, Callable[[], Tensor]] = {
    "one number repeated": lambda: torch.zeros(()).expand(SIDE, SIDE),
    "no numbers": lambda: torch.empty(SIDE, SIDE, device="meta"),
    "a sparse matrix": lambda: torch.sparse_coo_tensor(
        torch.zeros(2, 0).long(), [], (SIDE, SIDE), check_invariants=True
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_a_tensor_that_claims_more_than_its_file_holds_is_never_made_whole(name: str) -> None:
    with pytest.raises(InputError, match=r"expected 400000000000000 bytes of tensors in published\.pt"):
        build(lambda: nn.Linear(SIDE, SIDE, bias=False), {"weight": ODD[name]()}, FILE)


def test_a_compressed_file_is_never_inflated(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1 << 16)}, tmp_path / "plain.pt")
    assert read_state(tmp_path / "plain.pt")["weight"].shape == (1 << 16,)
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "small.pt", "w", 8) as small:
        for entry in plain.namelist():
            small.writestr(entry, plain.read(entry))
    with pytest.raises(InputError, match="it is compressed"):
        read_state(tmp_path / "small.pt")


def test_tensors_may_share_what_the_file_holds() -> None:
    held = torch.arange(6.0)
    made = build(lambda: nn.Linear(3, 2), {"weight": held.view(2, 3), "bias": held[:2]}, FILE)
    assert made.weight.tolist() == [[0, 1, 2], [3, 4, 5]] and made.bias.tolist() == [0, 1] and not made.training


def test_a_geometry_that_cannot_be_is_one_clear_error() -> None:
    with pytest.raises(InputError, match=r"geometry .* in published\.pt, found another \(num_channels"):
        build(lambda: nn.GroupNorm(3, 4), {}, FILE)


def test_whole_numbers_are_not_taken_for_weights() -> None:
    tensors = {"weight": torch.ones(2, 2, dtype=torch.int64), "bias": torch.ones(2, dtype=torch.float16)}
    with pytest.raises(InputError, match=r"other type \(1\): weight torch\.int64"):
        build(lambda: nn.Linear(2, 2), tensors, FILE)
