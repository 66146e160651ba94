"""What a command may be asked for of nodes is what the library has, and is known without torch."""

from support import without_torch
from synkern.models.nodes import KINDS
from synkern.models.options import IN_MULTITUDES, NODE_SIGNALS, ZERO_FILLED


def test_the_words_are_those_of_the_kinds():
    assert {name: tuple(kind.signals) for name, kind in KINDS.items()} == NODE_SIGNALS
    assert list(NODE_SIGNALS) == list(KINDS)
    assert {
        (name, signal)
        for name, kind in KINDS.items()
        for signal, known in kind.signals.items()
        if known.zero_filled
    } == ZERO_FILLED
    assert set(NODE_SIGNALS) > IN_MULTITUDES


def test_the_command_knows_them_before_torch():
    code = "import sys; from synkern.cli import main; sys.exit(main(sys.argv[1:]))"
    done = without_torch.run(code, "study", "--help")
    said = " ".join(done.stdout.split())
    assert f"--nodes {{{','.join(NODE_SIGNALS)}}}" in said or ", ".join(NODE_SIGNALS) in said
    assert "experts: weighted, output, gate, dense" in said
    wrong = ("--nodes", "experts", "--signal", "norm")
    done = without_torch.run(code, "study", "--out", "x", *wrong)
    assert done.returncode == 2
    assert "signal = 'norm' is none of experts; choose from weighted, output" in done.stderr
    gaussian = ("--nodes", "experts", "--kind", "gaussian")
    done = without_torch.run(code, "study", "--out", "x", *gaussian)
    assert done.returncode == 2
    assert "leave kind out, which is discrete then, or choose another signal (gate or dense)" in (
        done.stderr
    )
