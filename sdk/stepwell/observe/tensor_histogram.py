"""Computes the histogram of a torch tensor on the tensor's device, so that two short lists reach the host, not the
values.

Used by `model_watch.py`. Receives a tensor of any device, layout and dtype; returns counts, edges and the numbers of
NaN and infinite values. Uses the tensor's own library, which is imported already, and works in pieces, which bounds the
memory for copies.
"""

from __future__ import annotations

import math
import sys
from typing import Any

BINS = 64
#: The number of values in one piece; a float32 counts up to this number exactly.
_PIECE = 1 << 24
#: The widest range that float32 can divide into bins.
_WIDEST = 1e38


class TensorHistogram:
    """Counts of the finite values of a tensor.

    Attributes:
        counts: the counts of BINS bins.
        edges: the edges, BINS + 1 floats.
        nans, infs: the numbers of NaN and infinite values, which are in no bin.
    """

    def __init__(self, counts: list[int], edges: list[float], nans: int, infs: int) -> None:
        self.counts = counts
        self.edges = edges
        self.nans = nans
        self.infs = infs

    def __stepwell_json__(self) -> dict[str, Any]:
        value: dict[str, Any] = {"_type": "histogram", "values": self.counts, "bins": self.edges}
        if self.nans or self.infs:
            value |= {"nans": self.nans, "infs": self.infs}
        return value


def histogram_of(tensor: Any) -> TensorHistogram | None:
    """The histogram of a torch tensor; None when it holds no values."""
    torch = sys.modules["torch"]
    with torch.no_grad():
        flat = _flat(torch, tensor.detach())
        if flat is None or not flat.numel():
            return None
        low, high, finite, nans = _extent(torch, flat)
        infs = flat.numel() - finite - nans
        if not finite:
            return TensorHistogram([0] * BINS, _edges(0.0, 1.0), nans, infs)
        if high - low < max(abs(low), abs(high), 1e-30) * 1e-5:  # too narrow for 64 bins in float32
            pad = max(abs(low), abs(high)) * 1e-3 or 0.5
            low, high = low - pad, high + pad
        dtype = torch.float64 if flat.dtype == torch.float64 or high - low > _WIDEST else torch.float32
        counts = torch.zeros(BINS, dtype=torch.float64, device=flat.device if flat.device.type != "mps" else "cpu")
        for piece in flat.split(_PIECE):
            # NaN and values out of range, such as infinities, are skipped.
            counts += torch.histc(piece.to(dtype), BINS, low, high).to(counts)
        return TensorHistogram([int(count) for count in counts.tolist()], _edges(low, high), nans, infs)


def _flat(torch: Any, tensor: Any) -> Any:
    """All values as floats in one dimension; None if the values cannot be accessed."""
    if hasattr(tensor, "to_local"):  # one rank's part of a distributed tensor
        tensor = tensor.to_local()
    if tensor.is_meta:
        return None
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.float32)
    return tensor.reshape(-1)


def _extent(torch: Any, flat: Any) -> tuple[float, float, int, int]:
    """The least and the greatest finite value, and the numbers of finite and NaN values, in one transfer from the
    device."""
    rows = []
    for piece in flat.split(_PIECE):
        wide = piece if piece.dtype == torch.float64 else piece.to(torch.float32)
        finite = torch.isfinite(wide)
        rows.append(
            torch.stack(
                [
                    torch.where(finite, wide, math.inf).amin(),
                    torch.where(finite, wide, -math.inf).amax(),
                    finite.sum().to(wide.dtype),
                    torch.isnan(wide).sum().to(wide.dtype),
                ]
            )
        )
    found = torch.stack(rows).tolist()
    return (
        min(row[0] for row in found),
        max(row[1] for row in found),
        sum(int(row[2]) for row in found),
        sum(int(row[3]) for row in found),
    )


def _edges(low: float, high: float) -> list[float]:
    return [low + (high - low) * (index / BINS) for index in range(BINS)] + [high]
