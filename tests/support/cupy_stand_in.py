"""A module in place of `cupy`, for machines without a GPU: its names and its strictness, on NumPy.

What the backend may rely on is written down here, and all that CuPy refuses is refused: arrays of
NumPy among its own, conversions to NumPy that nobody asked for, and work on an array of a device
that is not the current one. Names and arguments are those of CuPy 14.2. Memory that nobody has
written is full of NaN.
"""

from __future__ import annotations

import enum
import types
from contextlib import contextmanager

import numpy as np

FUNCTIONS = """
abs amax amin arange argmax argsort ascontiguousarray bincount broadcast_to clip concatenate cumsum
diagonal exp2 floor isfinite isnan log log2 maximum minimum moveaxis ones ones_like searchsorted
sign sort sqrt stack swapaxes triu trunc unique where zeros zeros_like
""".split()  # noqa: SIM905
METHODS = """
all any argmin astype clip copy max mean min ravel reshape sum swapaxes tolist view
""".split()  # noqa: SIM905
ATTRIBUTES = ("dtype", "flags", "nbytes", "ndim", "shape", "size", "strides")
DTYPES = ("bool_", "float32", "float64", "int32", "int64", "uint8")
LINALG = ("inv", "qr")
OPERATORS = """
add radd sub rsub mul rmul truediv rtruediv floordiv mod pow matmul and or xor lshift rshift
lt le gt ge eq ne
""".split()  # noqa: SIM905
IN_PLACE = ("iadd", "isub", "imul", "itruediv", "iand", "ior")

entered = []
"""Devices and streams that are in use, the current ones last."""
used_streams = []
"""Addresses of all streams that were ever entered."""


class Device:
    """`cupy.cuda.Device`."""

    def __init__(self, number=None):
        devices = [entry for entry in entered if isinstance(entry, Device)]
        self.id = number if number is not None else devices[-1].id if devices else 0
        self.attributes = {
            "MultiProcessorCount": 4,
            "ComputeCapabilityMajor": 9,
            "ComputeCapabilityMinor": 0,
        }

    def __enter__(self):
        entered.append(self)
        return self

    def __exit__(self, *_):
        assert entered.pop() is self


class Stream:
    """`cupy.cuda.Stream`."""

    @classmethod
    @contextmanager
    def from_external(cls, stream):
        version, address = stream.__cuda_stream__()
        assert version == 0
        used_streams.append(address)
        yield


class ndarray:  # noqa: N801
    """`cupy.ndarray`."""

    __array_ufunc__ = None

    def __init__(self, values, device=None):
        self.values = values
        self.device = Device(device)

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion to a NumPy array is not allowed: use get()")

    def __array_function__(self, function, *_):
        raise TypeError(f"{function} of NumPy is called on an array of CuPy")

    def __getattr__(self, name):
        if name in ATTRIBUTES:
            return getattr(self.values, name)
        if name not in METHODS:
            raise AttributeError(f"cupy.ndarray.{name} is not known to be there")
        return wrapped(getattr(unwrap(self), name))

    @property
    def T(self):  # noqa: N802
        return ndarray(self.values.T, self.device.id)

    def take(self, indices, axis=None):
        return wrap(unwrap(self).take(unwrap(indices), axis))

    def get(self):
        return self.values.copy()

    def item(self):
        return self.values.item()

    def __getitem__(self, key):
        return wrap(unwrap(self)[index(key)])

    def __setitem__(self, key, value):
        unwrap(self)[index(key)] = unwrap(value)

    def __iter__(self):
        return iter([self[k] for k in range(len(self))])

    def __len__(self):
        return len(self.values)

    def __bool__(self):
        return bool(self.values)

    def __int__(self):
        return int(self.values)

    def __float__(self):
        return float(self.values)

    def __invert__(self):
        return wrap(~unwrap(self))

    def __neg__(self):
        return wrap(-unwrap(self))

    __hash__ = None

    def __dlpack__(self, **options):
        return self.values.__dlpack__()

    def __dlpack_device__(self):
        return 2, self.device.id


ndarray.__module__ = "cupy"


def operator(name):
    def method(self, other):
        with np.errstate(all="ignore"):  # A GPU does not warn.
            return wrap(getattr(unwrap(self), name)(unwrap(other)))

    return method


def operator_in_place(name):
    def method(self, other):
        with np.errstate(all="ignore"):
            getattr(unwrap(self), name)(unwrap(other))
        return self

    return method


for each in OPERATORS:
    setattr(ndarray, f"__{each}__", operator(f"__{each}__"))
for each in IN_PLACE:
    setattr(ndarray, f"__{each}__", operator_in_place(f"__{each}__"))


def unwrap(value):
    """What NumPy computes with; TypeError where CuPy would not take it."""
    if isinstance(value, ndarray):
        if value.device.id != Device().id:
            raise RuntimeError(f"array of device {value.device.id}, current is {Device().id}")
        return value.values
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, enum.Enum):  # nor its kind that is a number to NumPy
        raise TypeError(f"operand type(s) all returned NotImplemented: {value!r}")
    if isinstance(value, (list, tuple)):
        return type(value)(map(unwrap, value))
    return value


def wrap(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if isinstance(value, tuple):
        return tuple(map(wrap, value))
    return value


def index(key):
    """Unlike elsewhere, CuPy takes arrays of NumPy here."""
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(part if isinstance(part, np.ndarray) else unwrap(part) for part in parts)
    return parts if isinstance(key, tuple) else parts[0]


def wrapped(function):
    def call(*arguments, **options):
        with np.errstate(all="ignore"):
            found = function(*map(unwrap, arguments), **{k: unwrap(v) for k, v in options.items()})
        return wrap(found)

    return call


def empty(shape, dtype="float64"):
    values = np.empty(shape, dtype)
    values.fill({"f": np.nan, "u": 255}.get(values.dtype.kind, -1))
    return ndarray(values)


def asarray(values, dtype=None):
    given = unwrap(values) if isinstance(values, ndarray) else np.array(values)
    return ndarray(np.asarray(given, dtype))


def from_dlpack(array):
    device = array.__dlpack_device__()
    return ndarray(np.from_dlpack(array), device[1] if device[0] == 2 else None)


def module():
    """The module, to be put into `sys.modules`."""
    made = types.ModuleType("cupy")
    made.ndarray, made.empty, made.asarray, made.from_dlpack = ndarray, empty, asarray, from_dlpack
    for name in FUNCTIONS:
        setattr(made, name, wrapped(getattr(np, name)))
    for name in DTYPES:
        setattr(made, name, getattr(np, name))
    made.linalg = types.SimpleNamespace(**{n: wrapped(getattr(np.linalg, n)) for n in LINALG})
    made.cuda = types.SimpleNamespace(Device=Device, Stream=Stream)
    return made
