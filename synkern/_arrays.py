"""Arrays in and out: the caller's kind of array to a backend's and back, without a copy where
the memory can be shared.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
import torch
import torch.utils.dlpack

from synkern._tensors import as_numpy, one_thread_after_fork, tensor_taken

ArrayKind = Literal["numpy", "torch", "cupy"]

_DLPACK_CPU = 1  # kDLCPU of the DLPack specification


class Incoming(NamedTuple):
    """An array as a backend takes it, and the way back.

    Attributes:
        array: numpy.ndarray, torch.Tensor or cupy.ndarray.
        restore: turns a backend's array into the caller's kind, on the caller's device.
    """

    array: Any
    restore: Callable[[Any], Any]


def is_cupy(array: Any) -> bool:
    """Whether it is a cupy.ndarray; does not import cupy."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def native(array: Any) -> tuple[ArrayKind, str]:
    """What takes an array without a copy, NumPy or torch, and its kind of device, "cpu" or "cuda".

    torch, not CuPy, takes the arrays of CuPy too.
    """
    if isinstance(array, torch.Tensor):
        return "torch", array.device.type
    if _speaks_dlpack(array):
        return "torch", "cpu" if array.__dlpack_device__()[0] == _DLPACK_CPU else "cuda"
    return "numpy", "cpu"


def incoming(array: Any, kind: ArrayKind, *, argument: str, offset_free: bool = False) -> Incoming:
    """Take in NumPy, torch, anything with DLPack (CuPy, JAX), or what `numpy.asarray` takes.

    Args:
        array: the caller's array.
        kind: what the backend works on. CuPy works on what is on a GPU already.
        argument: name of the argument, for messages.
        offset_free: an offset of a node (last axis) does not matter and may be left out. Whole
            numbers that float64 does not tell apart come without it.

    Raises:
        TypeError: not an array of real numbers.
        ValueError: numbers that float64 cannot hold; a NumPy backend was chosen for data on another
            device, a CuPy backend for data in host memory, or either for a tensor that requires a
            gradient.
    """
    if kind == "cupy":
        taken, back = _incoming_to_cupy(array, argument)
        return Incoming(exact(taken, argument, offset_free=offset_free), back)
    if isinstance(array, torch.Tensor):
        array = _exact_tensor(array, argument, offset_free=offset_free)
        return _incoming_tensor(array, kind, argument)
    if _speaks_dlpack(array):
        back = _namespace(array, argument).from_dlpack
        tensor = torch.utils.dlpack.from_dlpack(array)
        tensor = _exact_tensor(tensor, argument, offset_free=offset_free)
        taken = _incoming_tensor(tensor, kind, argument).array
        return Incoming(taken, back)
    if np.ma.isMaskedArray(array):
        raise TypeError(
            f"{argument} is a masked array, whose masked entries would count as data; "
            "pass its .data, and mask=~numpy.ma.getmaskarray(array).any(-1), True where valid"
        )
    try:
        host = np.asarray(array)
    except ValueError as error:
        raise ValueError(
            f"{argument} is not an array of equal rows: {error}; trials of unequal length become "
            "one, and a mask, by synkern.stack_trials"
        ) from error
    if host.dtype.kind == "O" and hasattr(array, "isna"):
        host = _from_nullable(array, argument)
    if host.dtype == object and not host.ndim:
        _refuse_object(array, argument)
    _check_real(host.dtype.kind in "biuf", host.dtype, argument)
    host = exact(host, argument, offset_free=offset_free)
    if kind == "numpy":
        return Incoming(host, lambda out: out)
    one_thread_after_fork()
    # torch takes neither foreign byte order nor negative strides, and warns of read-only memory.
    host = np.require(host, np.float64, ["C_CONTIGUOUS", "WRITEABLE"])
    return Incoming(torch.from_numpy(host), lambda out: out.numpy())


_WHOLE = 2**53
"""Whole numbers up to here are float64 numbers; beyond, neighbours become equal."""


def exact(host: Any, argument: str, *, offset_free: bool) -> Any:
    """Numbers that float64 can hold as they are, or ValueError.

    Args:
        host: array of NumPy or CuPy, of real numbers, nodes along the last of several axes.
        argument: name of it, for messages.
        offset_free: see `incoming`.
    """
    if host.dtype.itemsize < 8 or host.dtype == np.float64 or not host.size:
        return host
    if host.dtype.kind == "f":
        return _in_range(host, argument)
    low, high = int(host.min()), int(host.max())
    if low >= -_WHOLE and high <= _WHOLE:
        return host
    others = tuple(range(host.ndim - 1)) or None
    if offset_free:
        # Modulo 2**64, in which a difference from the least is itself.
        above = host.astype(np.uint64) - host.min(axis=others).astype(np.uint64)
        if int(above.max()) <= _WHOLE:
            return above.astype(np.int64)
    raise _too_large(argument, high if abs(high) > abs(low) else low, offset_free)


def _exact_tensor(tensor: torch.Tensor, argument: str, *, offset_free: bool) -> torch.Tensor:
    """`exact` of a tensor."""
    if tensor.dtype not in (torch.int64, torch.uint64) or not tensor.numel():
        return tensor
    least = torch.iinfo(torch.int64).min
    signed, zero = tensor, 0
    if tensor.dtype == torch.uint64:  # in the same order, from the least signed number on
        signed, zero = tensor.view(torch.int64) ^ least, least
    low, high = (int(end) - zero for end in torch.aminmax(signed))
    if low >= -_WHOLE and high <= _WHOLE:
        return tensor
    if offset_free:
        above = signed - signed.amin(tuple(range(tensor.ndim - 1)))  # negative if it overflows
        if not bool(((above < 0) | (above > _WHOLE)).any()):
            return above
    raise _too_large(argument, high if abs(high) > abs(low) else low, offset_free)


def _too_large(argument: str, value: int, offset_free: bool) -> ValueError:
    return ValueError(
        f"{argument} holds whole numbers as far from 0 as {value}"
        + (", and those of one node lie more than 2**53 apart" if offset_free else "")
        + "; computation is in float64, which beyond 2**53 does not tell neighbours apart: "
        + ("divide them" if offset_free else "subtract an offset from each node")
    )


def _in_range(host: Any, argument: str) -> Any:
    """Extended precision as float64."""
    limits = np.finfo(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        taken = host.astype(np.float64)
    peak = np.abs(host).max(axis=tuple(range(host.ndim - 1)) or None, keepdims=True)
    beyond = (np.isinf(taken) & np.isfinite(host)).any()
    if beyond or bool(((peak > 0) & (peak < limits.tiny)).any()):
        raise ValueError(
            f"{argument} is {host.dtype}, with a node whose largest magnitude is "
            f"{(peak.max() if beyond else peak[peak > 0].min())!s}; computation is in float64, "
            f"which reaches from {limits.tiny:.0e} to {limits.max:.0e}: rescale the node"
        )
    return taken


def _from_nullable(frame: Any, argument: str) -> Any:
    """A pandas frame or column with dtypes that know missing values, as float64.

    Raises:
        TypeError: a column that does not hold numbers.
        ValueError: a missing value.
    """
    columns = [(None, frame)] if frame.ndim == 1 else list(frame.items())
    for name, column in columns:
        where = argument if name is None else f"column {name!r} of {argument}"
        if column.dtype.kind not in "biuf":
            raise TypeError(f"{where} must hold real numbers; got dtype {column.dtype}")
        missing = np.flatnonzero(column.isna())
        if len(missing):
            raise ValueError(
                f"{where} has {len(missing)} missing values, the first in row {missing[0]}; pass "
                "the others as numbers, frame.to_numpy(float, na_value=nan), and mask=, True where "
                "a sample is valid"
            )
    return frame.to_numpy(dtype=np.float64)


def _incoming_tensor(tensor: torch.Tensor, kind: ArrayKind, argument: str) -> Incoming:
    tensor = tensor_taken(tensor, argument)
    if kind == "torch":
        return Incoming(tensor, lambda out: out)
    if tensor.device.type != "cpu":
        raise ValueError(
            f"{argument} is on {tensor.device}, but a NumPy backend reads host memory only; "
            "use backend='torch' or 'auto', or copy it to the CPU"
        )
    if tensor.requires_grad:
        raise ValueError(
            f"{argument} requires a gradient, which a NumPy backend cannot give; "
            "use backend='torch' or pass a detached tensor"
        )
    # NumPy has no bfloat16.
    host = tensor.double() if tensor.is_floating_point() else tensor
    return Incoming(as_numpy(host, argument), torch.from_numpy)


def _incoming_to_cupy(array: Any, argument: str) -> Incoming:
    if is_cupy(array):
        _check_real(array.dtype.kind in "biuf", array.dtype, argument)
        return Incoming(array, lambda out: out)
    if _in_host_memory(array):
        raise ValueError(
            f"{argument} is in host memory, but a CuPy backend reads that of a GPU only; use "
            "backend='auto', or pass cupy.asarray of it"
        )
    if not isinstance(array, torch.Tensor):
        back = _namespace(array, argument).from_dlpack
        taken = importlib.import_module("cupy").from_dlpack(array)
        _check_real(taken.dtype.kind in "biuf", taken.dtype, argument)
        return Incoming(taken, back)
    array = tensor_taken(array, argument)
    if array.requires_grad:
        raise ValueError(
            f"{argument} requires a gradient, which a CuPy backend cannot give; "
            "use backend='torch' or 'auto', or pass a detached tensor"
        )
    tensor = _for_dlpack(array)
    with _on_stream_of(tensor):
        taken = importlib.import_module("cupy").from_dlpack(tensor)
    return Incoming(taken, torch.utils.dlpack.from_dlpack)


def _in_host_memory(array: Any) -> bool:
    return native(array)[1] == "cpu"


def _for_dlpack(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where CuPy has its dtype."""
    known = not tensor.is_floating_point() or tensor.dtype in _CUPY_FLOATS
    return tensor if known else tensor.double()


_CUPY_FLOATS = (torch.float16, torch.float32, torch.float64)


def placed(given: Any, array: Any) -> AbstractContextManager[Any]:
    """A context for work on an array of a backend: where it is, and in the caller's order.

    NumPy and torch look after that themselves. CuPy works on its current device and stream, so the
    array's device becomes current, and the stream that is current to torch if it is a tensor's.

    Args:
        given: what the array was taken from, by `incoming`; the array itself if there is no other.
        array: the backend's.
    """
    if not is_cupy(array):
        return contextlib.nullcontext()
    if isinstance(given, torch.Tensor):
        return _on_stream_of(given)
    device: AbstractContextManager[Any] = array.device
    return device


@contextmanager
def _on_stream_of(tensor: torch.Tensor) -> Iterator[None]:
    """CuPy on the device of a tensor and on the stream that is current to torch there."""
    cuda = importlib.import_module("cupy").cuda
    stream = _Stream(torch.cuda.current_stream(tensor.device).cuda_stream)
    with cuda.Device(tensor.device.index), cuda.Stream.from_external(stream):
        yield


class _Stream(NamedTuple):
    """A stream of another library; torch's say so themselves only in newer versions of it."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        """Version of the protocol and address."""
        return 0, self.address


def spacing(array: Any) -> float:
    """Relative spacing of a caller's numbers, in which a rounding error of them is to be expected.

    0 for whole numbers, which are exact, and for halves, whose steps (0.1 % in float16, 0.8 % in
    bfloat16) are wide enough for data to vary by one or two.
    """
    dtype = getattr(array, "dtype", None)
    if dtype is None:  # lists and frames, as NumPy takes them in; columns of several kinds: float64
        dtype = np.asarray(array).dtype
        dtype = np.dtype(np.float64) if dtype.kind == "O" else dtype
    # bfloat16 is no kind of number to NumPy.
    real = dtype.is_floating_point if isinstance(dtype, torch.dtype) else dtype.kind == "f"
    size = dtype.itemsize if real else 0
    return 0.0 if size < 4 else 2.0**-23 if size == 4 else 2.0**-52


def to_numpy(array: Any) -> Any:
    """A backend's or a caller's array as NumPy, copied from its device where it must be."""
    if isinstance(array, torch.Tensor):
        return as_numpy(array.detach().resolve_conj().resolve_neg().cpu(), "array")
    if _speaks_dlpack(array) and hasattr(array, "get"):  # CuPy copies only when asked to.
        return array.get()
    return np.asarray(array)


def like(host: Any, array: Any) -> Any:
    """A NumPy array as the kind of `array`, on its device."""
    if isinstance(array, np.ndarray):
        return host
    if isinstance(array, torch.Tensor):
        return torch.from_numpy(host).to(array.device)
    with placed(array, array):
        return _namespace(array).asarray(host)


def in_float64(array: Any) -> Any:
    """A backend's array in float64, where it is; itself where it is that already."""
    if isinstance(array, torch.Tensor):
        return array.double()
    return array.astype(np.float64, copy=False)


def _speaks_dlpack(array: Any) -> bool:
    """Whether it is an array of another library than NumPy and torch that shares its memory."""
    # Tracers of JAX have the first of these only, and no memory.
    speaks = hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")
    return speaks and not isinstance(array, np.ndarray | torch.Tensor)


def _namespace(array: Any, argument: str = "array") -> Any:
    """The module that makes arrays of this kind."""
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__()
    module = sys.modules[type(array).__module__.partition(".")[0]]
    if not hasattr(module, "from_dlpack"):
        raise TypeError(
            f"{argument}: a {type(array).__name__} hands out its memory by __dlpack__, but "
            f"{module.__name__} has no from_dlpack to take a result; pass "
            "torch.from_dlpack(array) to get torch tensors"
        )
    return module


def _refuse_object(array: Any, argument: str) -> NoReturn:
    """Raise TypeError on what is one object to NumPy, not an array: sparse, not yet computed."""
    ways = [way for way in ("toarray", "todense", "collect", "compute") if hasattr(array, way)]
    remedy = f"pass {argument}.{ways[0]}()" if ways else "pass one, of numbers"
    raise TypeError(
        f"{argument} must be an array of real numbers; got a {type(array).__name__}: {remedy}"
    )


def _check_real(real: bool, dtype: Any, argument: str) -> None:
    if not real:
        raise TypeError(f"{argument} must hold real numbers; got dtype {dtype}")
