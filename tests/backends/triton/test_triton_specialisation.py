"""How often triton would compile a kernel, counted over sizes: nothing is compiled or launched."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest

# Trials, time, nodes, tau: all numbers that the kernels are told are 1, multiples of 16 and others.
SIZES = [
    (1, 17, 16, 1),
    (2, 33, 48, 1),
    (16, 49, 512, 1),
    (60, 100, 1152, 1),
    (33, 64, 1024, 16),
    (5, 40, 2048, 8),
    (3, 20, 17, 1),
    (1, 18, 99, 2),
    (16, 65, 531, 1),
    (47, 36, 1111, 4),
    (2, 2, 3, 1),
]


def keys_by_kernel(sizes):
    """Numbers of different compilations that all launches of these sizes ask for, by kernel."""
    import torch  # noqa: PLC0415
    import triton  # noqa: PLC0415
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415
    from triton.runtime import driver  # noqa: PLC0415

    from synkern.kernels.contract import Limits, Rectangle  # noqa: PLC0415
    from synkern.kernels.engine.all_pairs import request_for  # noqa: PLC0415
    from synkern.kernels.formulas.discrete import Bits  # noqa: PLC0415
    from synkern.kernels.formulas.estimators import GaussianMMI  # noqa: PLC0415
    from synkern.kernels.triton_backend import (  # noqa: PLC0415
        ccs,
        discrete,
        node_means,
        unit_vectors,
    )
    from synkern.kernels.triton_backend.mmi import fill  # noqa: PLC0415
    from synkern.kernels.triton_backend.plan import plan  # noqa: PLC0415

    class Driver:
        """Of an H100 that nobody launches on."""

        def get_current_device(self):
            return 0

        def get_current_stream(self, device):
            return 0

        def get_current_target(self):
            return GPUTarget("cuda", 90, 32)

    found = {}

    def compiled(*, key, fn, **_):
        found.setdefault(fn.name, set()).add(key)
        return True  # Do not.

    driver.set_active(Driver())
    triton.knobs.runtime.jit_cache_hook = compiled
    names = ("rtr", "sts")
    for trials, time, nodes, tau in sizes:
        series = torch.zeros(trials, time, nodes, dtype=torch.float64)
        vectors = unit_vectors.unit_vectors(series, tau, None)
        marks = torch.zeros(4, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
        one = {"per_trial": False, "dtype": "float64"}
        half = Rectangle(slice(0, nodes // 2), slice(nodes // 2, nodes))
        for rectangle in (None, half):
            where = {"rectangle": rectangle, **one}
            workspace = 2 * 4 * 8 * nodes * nodes  # two trials at a time
            for path in ("series", "moments"):
                fill(path, *vectors, *marks, plan=plan(names), workspace=workspace, **where)
            ccs.fill(*vectors, *marks, names=names, **where)
            bits = Bits(*(torch.zeros(trials, nodes, time - tau) for _ in range(3)), vectors[2])
            discrete.fill(bits, "MMI", names=names, **where)
            limits = Limits(workspace=2 * 8 * 5 * (nodes + 32) * 64)
            request = request_for(
                names, estimator=GaussianMMI(), by_node=True, limits=limits, **where
            )
            sums = torch.zeros(5, 1, nodes, dtype=torch.float64)
            for _ in node_means.bands(sums, vectors, request):
                pass
    return {name.rpartition(".")[-1]: len(keys) for name, keys in found.items()}


@pytest.fixture(scope="module")
def counted():
    """In a process in which triton compiles rather than interprets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TRITON_INTERPRET")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(keys_by_kernel, SIZES).result()


def test_no_kernel_is_compiled_for_a_size_of_a_model(counted):
    """Twice at most: with nodes a multiple of 16, and with others; and once for rectangles."""
    both_areas = ("mmi_series", "mmi_moments", "mmi_nodes", "ccs", "discrete")
    assert counted == {
        **dict.fromkeys((f"{name}_kernel" for name in both_areas), 4),
        "pack_kernel": 2,
        # And by the power of two that holds the samples: 16 to 128, and 16 to 64.
        "unit_vectors_kernel": 4 + 3,
    }
