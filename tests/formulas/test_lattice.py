import numpy as np

from synkern.kernels.lattice import ATOMS, moebius_matrix, swap_nodes, zeta_matrix


def test_atoms_are_in_phyid_order():
    expected = "rtr rtx rty rts xtr xtx xty xts ytr ytx yty yts str stx sty sts"
    assert expected.split() == list(ATOMS)


def test_moebius_inverts_zeta_exactly():
    np.testing.assert_array_equal(moebius_matrix() @ zeta_matrix(), np.eye(16, dtype=np.int64))


def test_order_of_the_product_lattice():
    zeta = zeta_matrix()
    below = {atom: {ATOMS[k] for k in np.flatnonzero(zeta[i])} for i, atom in enumerate(ATOMS)}
    assert below["rtr"] == {"rtr"}
    assert below["xtx"] == {"rtr", "rtx", "xtr", "xtx"}
    assert below["stx"] == {s + "t" + t for s in "rxys" for t in "rx"}
    assert below["sts"] == set(ATOMS)


def test_synergy_counts_each_cumulative_quantity_with_its_known_sign():
    signs = dict(zip(ATOMS, moebius_matrix()[ATOMS.index("sts")].tolist(), strict=True))
    assert signs["sts"] == signs["rtr"] == signs["xtx"] == signs["xty"] == 1
    assert signs["stx"] == signs["xts"] == signs["xtr"] == signs["rtx"] == -1


def test_swapping_nodes_renames_x_and_y():
    assert [swap_nodes(name) for name in ("rtr", "xty", "stx", "yts")] == [
        "rtr",
        "ytx",
        "sty",
        "xts",
    ]
