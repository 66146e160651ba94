"""Counting instructions in disassembled kernels, and the model of their time."""

import importlib.util
import shutil
from collections import Counter
from pathlib import Path

import pytest

from bench.__main__ import main as bench_main
from bench.counts import build, count, kinds, listing, measured, model, report, rows, trips
from bench.harness.records import RESULTS, Run
from synkern.kernels.cupy_backend.source import source as cuda_source

DATA = Path(__file__).parents[1] / "data"

SUMS = """\
extern "C" __global__ void sums(const double* a, double* out, int n) {
    double sum = 0;
    for (int k = 0; k < n; ++k)
        sum += a[k] * a[k];
    out[threadIdx.x] = sum;
}
"""

LOOP = trips.Turns(r"for \(int k = 0; k < n; \+\+k\)", lambda w: w.samples)
WORK = trips.Work(
    trials=1, samples=99, names=2, tile=0, threads=32, group=8, depth=16, nodes=1152, stage=64
)


def listed(*lines, name="f"):
    """A listing of instructions (16 bytes each), labels and remarks of source lines."""
    text, address = [f".text.{name}:"], 0
    for line in lines:
        if line.endswith(":") or line.startswith("//##"):
            text.append(line)
        else:
            text.append(f"        /*{address:04x}*/                   {line} ;")
            address += 16
    return listing.parse("\n".join(text))[name]


def at(number):
    return f'//## File "phiid.cu", line {number}'


@pytest.fixture
def sums():
    """A sum of squares, compiled for sm_90: unrolled 16 times, 8, 4, and a rest."""
    return listing.parse((DATA / "sass_sums.txt").read_text())["sums"]


@pytest.fixture
def loops(monkeypatch):
    monkeypatch.setitem(trips.LOOPS, "cupy", (LOOP,))


def counted(function, work=WORK, source=SUMS):
    sources = count.Sources({"phiid.cu": source})
    return count.counted(function, "cupy", work, kinds.GPUS["sm_90"], sources)


# ---- The listing ---------------------------------------------------------------------------------


def test_instructions_have_predicate_opcode_operands_and_places(sums):
    assert len(sums.instructions) == 0x880 // 16
    one = sums.instructions[0x3D0 // 16]
    assert (one.address, one.opcode, one.predicate, one.target) == (0x3D0, "BRA", "P1", ".L_x_4")
    assert sums.instructions[one.address // 16 - 1].operands == ("R8", "R6", "R6", "R26")
    assert one.places == (listing.Place("phiid.cu", 3),)
    load = sums.instructions[0x18]
    assert (load.opcode, load.name, load.places[0].line) == ("LDG.E.64", "LDG", 4)


def test_places_of_inlined_code_are_a_chain():
    function = listed(
        '//## File "a.cu", line 3 inlined at "a.cu", line 9',
        '//## File "a.cu", line 9',
        "MOV R1, R2",
        "@!P0 MOV R1, R2.reuse",
        '//## File "a.cu", line 4',
        "EXIT",
    )
    first, second, last = (one.places for one in function.instructions)
    assert first == second == (listing.Place("a.cu", 3), listing.Place("a.cu", 9))
    assert last == (listing.Place("a.cu", 4),)
    assert function.instructions[1].operands == ("R1", "R2")


def test_a_listing_without_functions_is_refused():
    with pytest.raises(ValueError, match="no function"):
        listing.parse("nvdisasm fatal : nothing")


# ---- Loops ---------------------------------------------------------------------------------------


def test_loops_of_an_unrolled_sum_with_their_steps(sums):
    found = [(sums.instructions[loop.head].address, loop.step) for loop in sums.loops]
    assert found == [(0x180, 16), (0x580, 4), (0x6C0, 1)]


def test_a_loop_holds_code_that_lies_elsewhere_and_no_branch_to_itself_behind_the_end():
    function = listed(
        "MOV R0, RZ",
        ".L_1:",
        "IADD3 R0, R0, 0x2, RZ",
        "@P1 BRA `(.L_far)",
        ".L_2:",
        "ISETP.LT.AND P0, PT, R0, R9, PT",
        "@P0 BRA `(.L_1)",
        "EXIT",
        ".L_far:",
        "MUFU.RCP R4, R5",
        "BRA `(.L_2)",  # back in the listing, but no loop: .L_2 is come to without it
        ".L_end:",
        "BRA `(.L_end)",
    )
    (loop,) = function.loops
    assert (loop.head, loop.step) == (1, 2)
    assert {function.instructions[n].name for n in loop.inside} >= {"MUFU", "IADD3"}


def test_nested_loops_and_the_end_of_a_reunion():
    function = listed(
        ".L_1:",
        "IADD3 R0, R0, 0x1, RZ",
        "BSSY B0, `(.L_3)",
        ".L_2:",
        "IADD3 R1, R1, 0x8, RZ",
        "ISETP.LT.AND P1, PT, R1, R8, PT",
        "@P1 BRA `(.L_2)",
        "BSYNC B0",
        "NOP",
        ".L_3:",
        "ISETP.LT.AND P0, PT, R0, R9, PT",
        "@P0 BRA `(.L_1)",
        "EXIT",
    )
    outer, inner = function.loops
    assert (outer.step, inner.step) == (1, 8)
    assert inner.inside < outer.inside
    assert function.inner(outer) == [inner]
    assert 6 not in outer.inside  # behind the reunion's wait nobody goes on


def test_a_jump_that_may_go_anywhere_is_refused():
    with pytest.raises(ValueError, match="BRX R2 -0x10"):
        _ = listed("BRX R2 -0x10", "EXIT").loops


# ---- Counts --------------------------------------------------------------------------------------


def test_turns_of_an_unrolled_loop_are_those_of_the_source(sums, loops):
    found = counted(sums)
    assert found.unknown == ()
    assert found.kinds["FP64"] == pytest.approx(99)
    assert found.kinds["LDG"] == pytest.approx(99)
    assert found.kinds["STG"] == 1
    assert found.clocks["FP64"] == pytest.approx(99 / 2)
    main = next(phase for phase in found.phases if phase.turns != 1 and phase.kinds["FP64"])
    assert main.turns == pytest.approx(99 / 16)
    assert main.line == "for (int k = 0; k < n; ++k)"


def test_a_loop_that_no_rule_names_is_said(sums, monkeypatch):
    monkeypatch.setitem(trips.LOOPS, "cupy", ())
    found = counted(sums)
    assert len(found.unknown) == 3
    assert "for (int k = 0; k < n; ++k)" in found.unknown[0]


def test_an_unknown_instruction_is_named_and_counted():
    found = counted(listed("FROBNICATE.X R1, R2", "DFMA R2, R4, R6, R8", "EXIT"))
    assert found.unknown == ("instruction FROBNICATE.X",)
    assert found.kinds == {"unknown FROBNICATE": 1, "FP64": 1, "control": 1}
    assert found.clocks["issue"] == 0.75


def test_a_planted_spill_is_seen(sums, loops):
    text = (DATA / "sass_sums.txt").read_text()
    line = "        /*0250*/                   LDG.E.64 R8, desc[UR8][R2.64+0x58] ;"
    assert line in text
    spilled = line.replace("LDG.E.64 R8, desc[UR8][R2.64+0x58]", "STL.64 [R1+0x8], R8")
    found = counted(listing.parse(text.replace(line, spilled))["sums"])
    assert found.kinds["STL"] == pytest.approx(99 / 16)
    assert found.kinds["LDG"] == pytest.approx(99 * 15 / 16)
    assert counted(sums).kinds["STL"] == 0


def test_rare_code_and_code_of_some_warps(monkeypatch):
    source = "if (left) mark(0, trial);\ncount_nodes(task, tile);\nx;\nif (rare)\nfound;\n"
    function = listed(
        at(1), "DADD R0, R0, R2",
        at(2), "DMUL R0, R0, R2",
        at(4), "ISETP.NE.AND P0, PT, R0, RZ, PT", "@!P0 BRA `(.L_1)",
        at(5), "MUFU.RCP R4, R5",
        ".L_1:", at(3), "DFMA R2, R4, R6, R8", "EXIT",
    )  # fmt: skip
    work = trips.Work(**{**vars(WORK), "tile": 16, "threads": 256, "group": 2})
    monkeypatch.setitem(trips.RARE, "cupy", r"if \(rare\)")
    found = counted(function, work, source)
    assert found.kinds["FP64"] == pytest.approx(1 + 64 / 256)
    assert found.kinds["MUFU"] == 0
    monkeypatch.setitem(trips.RARE, "cupy", r"$^")
    assert counted(function, work, source).kinds["MUFU"] == 1


def test_lookups_take_a_clock_for_each_line_of_the_cache():
    source = "return table[int(index)];\n"
    alone = counted(listed("LDG.E.64 R0, desc[UR4][R2.64]", "EXIT"), source=source)
    scattered = counted(listed(at(1), "LDG.E.64 R0, desc[UR4][R2.64]", "EXIT"), source=source)
    assert (alone.clocks["memory path"], scattered.clocks["memory path"]) == (2, 7)


def test_group_is_that_of_the_estimator():
    names = ("phiid::mmi_series<double>", "phiid::discrete<double>", "phiid::ccs<double>")
    of_mmi = "constexpr int GROUP = 8;\n"
    counting = "struct Discrete {\n    static constexpr int GROUP = 2;  // trials\n};\n"
    for text in (counting + of_mmi, of_mmi + counting):
        assert [build.group(text, name) for name in names] == [8, 2, 1]
    alone = "struct Discrete {\n    int a;\n};\n" + of_mmi
    assert [build.group(alone, name) for name in names] == [8, 1, 1]


def test_group_and_stage_of_one_series_are_those_of_its_atoms():
    text = cuda_source()
    kernels = [f"phiid::mmi_lags<double, phiid::{atoms}, " for atoms in ("Two", "All")]
    assert [build.group(text, name) for name in kernels] == [8, 16]
    assert [build.stage(text, name) for name in kernels] == [64, 32]
    before = "struct Lags {\n    static constexpr int STAGE = 48, STEP = 16;\n};\n"
    assert build.stage(before, "phiid::mmi_lags<double, phiid::AllPairs>") == 48
    assert build.stage("", kernels[0]) == 0


@pytest.mark.parametrize(
    ("backend", "name", "tile", "group", "trials"),
    [
        ("cupy", "phiid::node_totals<phiid::AllPairs>", None, 8, 1),
        ("cupy", "phiid::ccs_nodes<phiid::AllPairs>", 16, 1, 60),
        ("triton", "float64 series few apart", 32, 1, 1),
        ("triton", "float64 ccs few", 16, 1, 60),
    ],
)
def test_trials_of_a_block(backend, name, tile, group, trials):
    known = {"tile": tile, "group": group, "threads": 256, "atoms": 2}
    assert build.chunk_trials(backend, name, known) == trials


# ---- Kinds and the model -------------------------------------------------------------------------


def test_kinds_are_disjoint_and_products_know_their_rate():
    names = [name for names in kinds.KINDS.values() for name in names.split()]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    h100, a100 = kinds.GPUS["sm_90"], kinds.GPUS["sm_80"]
    assert kinds.clocks(h100, "DMMA.8x8x4")["DMMA"] == 256 / 64
    assert kinds.clocks(h100, "DMMA.16x8x16")["DMMA"] == 2048 / 128
    assert kinds.clocks(a100, "DMMA.884")["DMMA"] == 256 / 64  # as it is written for sm_80
    with pytest.raises(ValueError, match=r"DMMA\.NEW"):
        kinds.clocks(h100, "DMMA.NEW")


@pytest.mark.parametrize(
    ("opcode", "bits"),
    [("LDS", 32), ("LDS.64", 64), ("LDG.E.128", 128), ("LDG.E.U8", 32), ("STL.LU.64", 64)],
)
def test_width_of_an_access(opcode, bits):
    assert kinds.width(opcode) == bits


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "blocks"),
    [
        (128, 512, 36864, 1),
        (255, 128, 32768, 2),
        (224, 128, 43008, 2),
        (110, 512, 33280, 1),
        (32, 256, 0, 8),
        (64, 128, 100_000, 2),
    ],
)
def test_blocks_of_a_multiprocessor(registers, threads, shared, blocks):
    assert model.resident(kinds.GPUS["sm_90"], registers, threads, shared) == blocks


def test_phases_follow_each_other_in_one_block_and_hide_in_two():
    phases = tuple(
        count.Phase("", 1, Counter(), Counter({unit: 100.0, "issue": 60.0}))
        for unit in ("FP64", "DMMA")
    )
    found, gpu = count.Counted(phases, ()), kinds.GPUS["sm_90"]
    alone = model.modelled(gpu, found, 1, 133, 1, 1)
    assert (alone.unit, alone.clocks, alone.phases, alone.waves) == ("issue", 120, 200, 2)
    assert alone.ms == pytest.approx(2 * 200 / 1.755e6)
    together = model.modelled(gpu, found, 1, 133, 2, 1)
    assert together.ms == pytest.approx(2 * 120 / 1.755e6)
    # A byte a clock and multiprocessor takes a clock.
    each = gpu.bandwidth * 1e3 / gpu.multiprocessors / gpu.clock
    slow = model.modelled(gpu, found, 1, 133, 1, 1, memory=300 * each)
    assert (slow.unit, slow.clocks) == ("memory", pytest.approx(300))


# ---- Measured times, tools, text -----------------------------------------------------------------


def test_kernels_find_their_times():
    run = Run.load(RESULTS / "h100.json")
    two = "phiid::mmi_series<double, phiid::Two, phiid::AllPairs>"
    assert measured.of_kernel(run, "cupy", two, None) == (2.94528, 0)
    assert measured.of_kernel(run, "cupy", two.replace("AllPairs", "Rectangle"), None) is None
    ccs = measured.of_kernel(run, "cupy", "phiid::discrete<float, true, phiid::AllPairs>", None)
    assert ccs.ms == 23.4771
    few = "float64 series few summed"
    launch = "Launch(block=32, warps=4, depth=16, stages=3)"
    assert measured.of_kernel(run, "triton", few, launch).ms == 2.6313
    assert measured.of_kernel(run, "triton", few, "Launch(block=8)") is None
    moments = measured.of_kernel(run, "triton", "float32 moments few summed", None)
    assert moments.ms == 2.44259
    assert 1 < moments.besides < 2  # products of 47 GFLOP and 1.9 GB written


def test_without_a_disassembler_the_error_says_where_one_is(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(rows.DisassemblerError, match="pip install triton"):
        rows.rows("cupy", "sm_90", "")


def test_a_commit_that_is_none_is_named():
    wanted = pytest.raises(RuntimeError, match="--against no-such-commit")
    with wanted, rows.checkout("no-such-commit"):
        pass


def made(name="a<AllPairs>", registers=40, spills=0, kinds_of=None, unknown=()):
    """A row without a compiler."""
    clocks = Counter({"issue": 5.0})
    found = count.Counted((count.Phase("", 1, kinds_of or Counter(FP64=20.0), clocks),), unknown)
    gpu = kinds.GPUS["sm_90"]
    known = {"name": name, "tile": 16, "threads": 256, "registers": registers, "spills": spills}
    time = model.modelled(gpu, found, 8, 100, 1, 1)
    return rows.Row(
        known | {"shared": 0, "backend": "cupy"}, found, 1.0, 1, time, measured.Measured(1.0, 0.5)
    )


def test_a_spill_and_a_changed_count_are_shown_before_and_after():
    before = [made(), made("same"), made("gone")]
    after = [made(spills=96, kinds_of=Counter(FP64=12.0, STL=6.0)), made("same"), made("new")]
    lines = report.changes(before, after).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["before", "after", "gone", "new"]
    assert " 96 " in lines[2]
    assert " 96 " not in lines[1]
    assert lines[-1] == "1 kernels are as they were."
    changed, same, new = report.unmeasured(before, after)
    assert (changed.measured, new.measured) == (None, None)  # what was timed was another kernel
    assert same.measured == before[1].measured
    assert report.changes(before[:1], before[:1]) == "1 kernels are as they were."


def test_the_page_has_all_rows_and_the_model_beside_the_measured():
    parts = [("NVRTC 13.0", [made()], [made(spills=8)])]
    text = report.page(parts, "sm_90", "abc")
    assert text.count("| a&lt;AllPairs> |") == 4  # now, before, after, measured
    assert "it took" in text
    assert "times what the model says" in text
    assert report.LEGEND in text


def test_what_is_not_counted_makes_the_command_fail(monkeypatch, capsys):
    monkeypatch.setattr(rows, "rows", lambda *_: ("13.0", [made(unknown=("instruction NEW",))]))
    monkeypatch.setattr("sys.argv", ["bench", "counts", "cupy"])
    assert bench_main() == 1
    assert "a<AllPairs>: instruction NEW" in capsys.readouterr().out


@pytest.mark.proof
@pytest.mark.parametrize("backend", ["cupy", "triton"])
def test_kernels_are_counted_to_the_last_loop(backend):
    only = {"cupy": "Two, phiid::AllPairs|discrete<double", "triton": "moments few summed$"}
    _, found = rows.rows(backend, "sm_90", only[backend])
    assert len(found) >= 2
    assert report.unknown(found) == []
    for row in found:
        assert row.number("FP64", "FP32") > 40
        assert 0.1 < row.modelled.ms < 20 if row.modelled else "Rectangle" in row.name


@pytest.mark.proof
def test_a_kernel_short_of_registers_is_seen_to_spill(tmp_path):
    from synkern.kernels.cupy_backend import ahead, source  # noqa: PLC0415

    text = source.source()
    bounds = "PHIID_KERNEL(Atoms::THREADS{})\nmmi_series("
    assert bounds.format("") in text
    short = text.replace(bounds.format(""), bounds.format(", 2"))
    name = "phiid::mmi_series<double, phiid::Two, phiid::AllPairs>"
    stored = []
    for number, each in enumerate((text, short)):
        code, _ = build.cubin(ahead, each, "sm_90", name, source.OPTIONS)
        file = tmp_path / f"{number}.cubin"
        file.write_bytes(code)
        work = trips.Work(**{**vars(WORK), "trials": 32, "tile": 32, "threads": 512})
        stored.append(counted(rows.disassembled(file), work, each).kinds["STL"])
    assert stored[0] == 0
    assert stored[1] > 0
