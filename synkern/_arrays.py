"""Arrays in and out: the caller's kind of array to a backend's and back, without a copy where
the memory can be shared.

torch and CuPy are imported when an array of theirs is met, or their backend is asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeGuard

import numpy as np

from synkern._exact import exact
from synkern._faces import Later, has_torch, torch_missing
from synkern._forks import one_thread_after_fork
from synkern.kernels import ArrayKind

if TYPE_CHECKING:
    import torch

    from synkern import _tensors
else:
    torch, _tensors = Later("torch"), Later("synkern._tensors")

_DLPACK_CPU = 1  # kDLCPU of the DLPack specification


class Incoming(NamedTuple):
    """An array as a backend takes it, and the way back.

    Attributes:
        array: numpy.ndarray, torch.Tensor or cupy.ndarray.
        restore: turns a backend's array into the caller's kind, on the caller's device.
    """

    array: Any
    restore: Callable[[Any], Any]


def is_tensor(array: Any) -> TypeGuard[torch.Tensor]:
    """Whether it is a torch.Tensor; does not import torch."""
    if type(array) is np.ndarray:
        return False
    # A thread may be importing torch, which has no tensors until it has.
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    return tensor is not None and isinstance(array, tensor)


def is_cupy(array: Any) -> bool:
    """Whether it is a cupy.ndarray; does not import cupy."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def native(array: Any) -> tuple[ArrayKind, str]:
    """Tell what takes an array without a copy, NumPy or torch, and its device, "cpu" or "cuda".

    torch takes what comes by DLPack, the arrays of CuPy too; where it is not installed, NumPy takes
    what is in host memory.
    """
    if is_tensor(array):
        return "torch", array.device.type
    if _speaks_dlpack(array):
        device = "cpu" if array.__dlpack_device__()[0] == _DLPACK_CPU else "cuda"
        return "numpy" if device == "cpu" and not has_torch() else "torch", device
    return "numpy", "cpu"


def gpu_number(array: Any) -> int | None:
    """Number of the GPU that an array is on, as CUDA counts them; None if it does not say."""
    if is_tensor(array):
        index: int | None = array.device.index
        return index
    return int(array.__dlpack_device__()[1]) if _speaks_dlpack(array) else None


def library(kind: ArrayKind, argument: str = "series") -> Any:
    """Import numpy, torch or cupy.

    Raises:
        MissingExtraError: torch is not installed, and an array is where only torch takes it.
    """
    if kind == "torch" and not has_torch():
        raise torch_missing(f"{argument}, an array on a GPU that comes by DLPack,")
    return importlib.import_module(kind)


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
    if is_tensor(array):
        array = _tensors.exact(array, argument, offset_free=offset_free)
        return _incoming_tensor(array, kind, argument)
    if _speaks_dlpack(array):
        back = _namespace(array, argument).from_dlpack
        if kind == "numpy" and not has_torch():
            return Incoming(
                exact(_shared(array, argument), argument, offset_free=offset_free), back
            )
        tensor = library("torch", argument).from_dlpack(array)
        tensor = _tensors.exact(tensor, argument, offset_free=offset_free)
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
    tensor = _tensors.tensor_taken(tensor, argument)
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
    return Incoming(_tensors.as_numpy(_of_numpy(tensor), argument), torch.from_numpy)


def _incoming_to_cupy(array: Any, argument: str) -> Incoming:
    """Take in what is on a GPU.

    Results go back as memory of CuPy's pool, ordered on the caller's current stream. torch's
    `record_stream` does not reach the pool: who uses them on another stream has to wait for that
    before dropping them.
    """
    if is_cupy(array):
        _check_real(array.dtype.kind in "biuf", array.dtype, argument)
        return Incoming(array, lambda out: out)
    if _in_host_memory(array):
        raise ValueError(
            f"{argument} is in host memory, but a CuPy backend reads that of a GPU only; use "
            "backend='auto', or pass cupy.asarray of it"
        )
    if not is_tensor(array):
        back = _namespace(array, argument).from_dlpack
        taken = importlib.import_module("cupy").from_dlpack(array)
        _check_real(taken.dtype.kind in "biuf", taken.dtype, argument)
        return Incoming(taken, back)
    array = _tensors.tensor_taken(array, argument)
    if array.requires_grad:
        raise ValueError(
            f"{argument} requires a gradient, which a CuPy backend cannot give; "
            "use backend='torch' or 'auto', or pass a detached tensor"
        )
    tensor = _of_numpy(array)
    with _on_stream_of(tensor):
        taken = importlib.import_module("cupy").from_dlpack(tensor)
    return Incoming(taken, torch.utils.dlpack.from_dlpack)


def _shared(array: Any, argument: str) -> Any:
    """Take an array of another library in host memory into NumPy, without a copy."""
    try:
        taken = np.from_dlpack(array)
    except (BufferError, RuntimeError) as error:  # bfloat16, for instance
        raise TypeError(
            f"{argument} must hold real numbers that NumPy knows; got dtype {array.dtype}: convert "
            "it to float32, or pip install 'synkern[torch]'"
        ) from error
    _check_real(taken.dtype.kind in "biuf", taken.dtype, argument)
    return taken


def _in_host_memory(array: Any) -> bool:
    return native(array)[1] == "cpu"


def _of_numpy(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself where NumPy and CuPy have its dtype."""
    known = (torch.float16, torch.float32, torch.float64)
    return tensor if not tensor.is_floating_point() or tensor.dtype in known else tensor.double()


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
    if is_tensor(given):
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
    floating = getattr(dtype, "is_floating_point", None)  # torch's; NumPy has no bfloat16
    real = dtype.kind == "f" if floating is None else floating
    size = dtype.itemsize if real else 0
    return 0.0 if size < 4 else 2.0**-23 if size == 4 else 2.0**-52


def to_numpy(array: Any) -> Any:
    """Return a backend's or a caller's array as NumPy, copied from its device where it must be."""
    if is_tensor(array):
        return _tensors.as_numpy(array.detach().resolve_conj().resolve_neg().cpu(), "array")
    if _speaks_dlpack(array) and hasattr(array, "get"):  # CuPy copies only when asked to.
        return array.get()
    return np.asarray(array)


def like(host: Any, array: Any) -> Any:
    """Return a NumPy array as the kind of `array`, on its device."""
    if isinstance(array, np.ndarray):
        return host
    if is_tensor(array):
        return torch.from_numpy(host).to(array.device)
    with placed(array, array):
        return _namespace(array).asarray(host)


def in_float64(array: Any) -> Any:
    """Return a backend's array in float64, where it is; itself where it is that already."""
    if is_tensor(array):
        return array.double()
    return array.astype(np.float64, copy=False)


def _speaks_dlpack(array: Any) -> bool:
    """Whether it is an array of another library than NumPy and torch that shares its memory."""
    # Tracers of JAX have the first of these only, and no memory.
    speaks = hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")
    return speaks and not isinstance(array, np.ndarray) and not is_tensor(array)


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


def check_kind(array: Any, argument: str) -> None:
    """Raise TypeError on a kind of tensor that is not taken, and say what to make of it."""
    if is_tensor(array):
        _tensors.check_kind(array, argument)


def outside_transforms(array: Any, argument: str, function: str) -> Any:
    """Take a tensor detached, for a function without a gradient; anything else as it is.

    Raises:
        TypeError: a tensor inside a transform of `torch.func`, or of a kind that is not taken.
    """
    return _tensors.outside_transforms(array, argument, function) if is_tensor(array) else array


def run_whole(run: Callable[[Any], Any], series: Any, *, differentiable: bool) -> Any:
    """Run a backend on a series, also inside `torch.func.grad`, `vjp` and `jacrev`.

    There the backend works on the tensor that the transform's stands for, so that all it finds are
    ordinary tensors, and its atoms get their gradient as one.

    Args:
        run: backend with all its options, `kernels.contract.Pairs` of a series.
        series: as the backend takes it.
        differentiable: whether the atoms have a gradient.
    """
    if is_tensor(series):
        return _tensors.run_whole(run, series, differentiable=differentiable)
    return run(series)
