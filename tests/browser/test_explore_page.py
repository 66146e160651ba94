"""The page to explore in a real browser: every control, every key, and how long it takes."""

from dataclasses import replace

import numpy as np
import pytest

from support.explorations import WEIGHTS, of_layers, of_places, symmetric
from support.recordings_made import recording
from synkern.study import decompose_data
from synkern.study.explorer import PairValues, explorer_page

pytestmark = pytest.mark.browser

# Of a page of 1,664 nodes in two conditions, on a core of a server that others use too.
LOAD, CHANGE, SIZE = 60.0, 10.0, 70e6
"""Seconds until it can be used, seconds that a change may take, bytes: far above what is seen."""


def opened(browser, folder, explored):
    file = folder / "explore.html"
    file.write_text(explorer_page(explored), "utf-8")
    return browser.open(file)


def settled(browser):
    """Wait until what was asked for has been drawn."""
    browser.value("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 250))")


def use(browser, name, value):
    """As a reader: what the widget calls back is what is tried."""
    browser.value(f"use({name!r}, {value})")
    settled(browser)


def pressed(browser, name, place):
    """Click on the button of a group of buttons."""
    x, y = browser.value(
        f"""(() => {{
          const host = document.getElementById("{name}-control").firstElementChild;
          const button = host.shadowRoot.querySelectorAll("button, .bk-btn")[{place}];
          button.scrollIntoView({{ block: "center" }});
          const box = button.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
    )
    browser.click(x, y)
    settled(browser)


def clicked(browser, plot, x, y):
    """Click into a plot, at its own numbers."""
    browser.click(*at(browser, plot, x, y))
    settled(browser)


def at(browser, plot, x, y):
    """Where in the window a plot has a place."""
    return browser.value(
        f"""(() => {{
          document.getElementById("{plot}-plot").scrollIntoView({{ block: "center" }});
          const view = Bokeh.index.find_one(model({plot!r}));
          const box = view.canvas_view.el.getBoundingClientRect();
          const sx = view.frame.x_scale.compute({x});
          return [box.x + sx, box.y + view.frame.y_scale.compute({y})];
        }})()"""
    )


def chosen(browser):
    return browser.value("document.getElementById('chosen').innerText")


def column(browser, source, name):
    return browser.value(f"Array.from(model({source!r}).data[{name!r}])")


def test_every_switch_shows_what_it_says(browser, tmp_path):
    explored = of_layers()
    opened(browser, tmp_path, explored)
    gap, balance = explored.rankings
    np.testing.assert_array_equal(column(browser, "nodes", "shown"), gap.values[WEIGHTS[0]])
    pressed(browser, "ranking", 1)
    np.testing.assert_array_equal(column(browser, "nodes", "shown"), balance.values[WEIGHTS[0]])
    pressed(browser, "condition", 1)
    np.testing.assert_array_equal(column(browser, "nodes", "shown"), balance.values[WEIGHTS[1]])
    use(browser, "colour", 1)  # how often they were routed, of which random weights have nothing
    assert browser.value("valuesOf(data.values[0]).every(Number.isNaN)")
    pressed(browser, "condition", 0)
    np.testing.assert_array_equal(
        column(browser, "nodes", "shown"), explored.values[0].values[WEIGHTS[0]]
    )
    for scheme, name in enumerate(("light", "light", "dark")):
        pressed(browser, "theme", scheme)
        assert browser.value("document.documentElement.dataset.theme") == name
    pressed(browser, "theme", 0)
    browser.shape(1280, 1000, dark=True)
    settled(browser)
    assert browser.value("document.documentElement.dataset.theme") == "dark"
    use(browser, "profile", 1)
    assert "Somebody's" in browser.value("document.getElementById('profile-legend').innerText")
    pressed(browser, "published", 0)
    assert "Somebody's" not in browser.value("document.getElementById('profile-legend').innerText")
    assert len(column(browser, "profile-lines", "name")) == 2
    np.testing.assert_allclose(column(browser, "chart-lines", "ys")[1], [0, 20, 40, 60, 80])
    assert len(column(browser, "chart-bands", "xs")) == 1


@pytest.mark.parametrize("order", [0, 1])
def test_the_matrix_shows_every_pair_in_the_order_asked_for(browser, tmp_path, order):
    explored = of_layers()
    opened(browser, tmp_path, explored)
    sts, rtr = (pair.values[WEIGHTS[0]].astype(np.float32) for pair in explored.pairs[:2])
    pressed(browser, "order", order)
    score = explored.rankings[0].values[WEIGHTS[0]]
    rows = np.argsort(-score, kind="stable") if order else np.arange(len(score))
    for place, matrix in enumerate((sts, rtr, sts - rtr, sts / (sts + rtr))):
        use(browser, "pairs", place)
        image = browser.value(
            "Array.from(model('matrix-image').data.image[0], (v) => (Number.isNaN(v) ? null : v))"
        )
        found = np.array([np.nan if v is None else v for v in image]).reshape(12, 12)
        np.testing.assert_allclose(found[::-1], matrix[rows][:, rows], rtol=1e-6)


def test_hovering_tells_the_exact_number(browser, tmp_path):
    explored = of_layers()
    opened(browser, tmp_path, explored)
    n = len(explored.labels)
    browser.move(*at(browser, "matrix", 2.5, n - 7.5))
    settled(browser)
    told = browser.value("pairSaid({ x: 2.5, y: 4.5 }, 'value')")
    value = np.float32(explored.pairs[0].values[WEIGHTS[0]][7, 2])
    assert float(told.split()[0].replace("−", "-")) == pytest.approx(value, rel=1e-5)
    # Tooltips are inside shadow roots.
    shown = browser.value(
        """(() => {
          const found = [];
          const walk = (root) => root.querySelectorAll("*").forEach((el) => {
            if (el.classList.contains("bk-Tooltip")) found.push(el.shadowRoot.textContent);
            if (el.shadowRoot) walk(el.shadowRoot);
          });
          walk(document);
          return found.join(" ");
        })()"""
    )
    assert "L2H1 and L0H2" in shown
    assert told in shown


def test_the_keyboard_does_all(browser, tmp_path):
    explored = of_layers()
    opened(browser, tmp_path, explored)
    labels, score = explored.labels, explored.rankings[0].values[WEIGHTS[0]]
    assert "No head is chosen" in chosen(browser)
    browser.press("ArrowUp")
    best = int(np.argmax(score))
    assert chosen(browser).startswith(f"{labels[best]}, layer")
    layer, head = divmod(best, 3)
    up, right = ("ArrowUp", 1) if layer < 3 else ("ArrowDown", -1), ("ArrowRight", 1)
    right = right if head < 2 else ("ArrowLeft", -1)
    browser.press(up[0])
    assert chosen(browser).startswith(f"L{layer + up[1]}H{head}, ")
    browser.press(right[0])
    assert chosen(browser).startswith(f"L{layer + up[1]}H{head + right[1]}, ")
    for key, name, first in (
        *(("2", "ranking", 1), ("1", "ranking", 0), ("w", "condition", 1), ("c", "colour", 1)),
        *(("m", "pairs", 1), ("o", "order", 1), ("p", "profile", 1), ("t", "theme", 1)),
    ):
        browser.press(key)
        settled(browser)
        assert browser.value(f"state.{name}") == first, key
    browser.press("?")
    assert browser.value("help().open")
    browser.press("Escape")
    assert not browser.value("help().open")
    browser.press("Escape")
    assert "No head is chosen" in chosen(browser)
    # Whoever goes through the page by Tab sees where they are.
    for _ in range(4):
        browser.press("Tab")
    outline = """(() => {
      let at = document.activeElement;
      while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
      return getComputedStyle(at).outlineWidth;
    })()"""
    assert browser.value(outline) == "3px"


def test_clicks_choose_a_node_and_its_partners(browser, tmp_path):
    explored = of_layers()
    opened(browser, tmp_path, explored)
    clicked(browser, "map", 1, 2)
    assert chosen(browser).startswith("L2H1, layer 2, trained weights")
    row = explored.pairs[0].values[WEIGHTS[0]][7]
    strongest = np.argsort(-np.nan_to_num(row, nan=-1))[:11]
    expected = [explored.labels[node] for node in strongest]
    assert column(browser, "partner-values", "label") == expected
    table = browser.value("document.getElementById('partners-table').innerText")
    assert [line.split("\t")[1] for line in table.splitlines() if "\t" in line] == expected
    assert browser.value("model('profile-group').visible")
    # The bar at the top, then a row of the matrix, then a name.
    clicked(browser, "partners", float(row[strongest[0]]) / 2, 10.5)
    assert chosen(browser).startswith(expected[0])
    clicked(browser, "matrix", 3.5, 12 - 4.5)
    assert chosen(browser).startswith("L1H1, ")
    browser.value("explorer.find(' l3h2 ')")
    assert chosen(browser).startswith("L3H2, ")
    browser.value("explorer.find('nobody')")
    assert chosen(browser) == "There is no head “nobody”."


def test_controls_are_named_for_those_who_do_not_see_them(browser, tmp_path):
    opened(browser, tmp_path, of_layers())
    unnamed = browser.value(
        """[...document.querySelectorAll('[id$="-control"], [id$="-plot"]')]
          .map((slot) => [slot.id, slot.firstElementChild?.getAttribute("aria-label")])
          .filter(([, label]) => !label)"""
    )
    assert unnamed == []
    assert browser.value("document.getElementById('chosen').getAttribute('aria-live')") == "polite"


def test_a_study_of_data_has_views_of_its_places(browser, tmp_path):
    explored = of_places()
    opened(browser, tmp_path, explored)
    np.testing.assert_array_equal(column(browser, "nodes", "x"), explored.views[0].x)
    use(browser, "view", 1)
    np.testing.assert_array_equal(column(browser, "nodes", "x"), explored.views[1].x)
    clicked(browser, "map", float(explored.views[1].x[4]), float(explored.views[1].y[4]))
    assert chosen(browser).startswith("region 4, network visual")


def test_the_page_of_data_does_all_that_its_controls_say(browser, tmp_path):
    settings = {"progress": False, "bootstrap": 100, "null_draws": 19, "tau": (1, 2)}
    found = decompose_data(recording(step=2.0), out=tmp_path / "out", **settings)
    browser.open(found.out / "explore.html")
    names = found.node_names
    for place, ranking in enumerate(("mean_difference", "rank_difference", "balance")):
        pressed(browser, "ranking", place)
        for lag, tau in enumerate((1, 2)):
            pressed(browser, "condition", lag)
            expected = found.at(tau)[f"node_{ranking}"]
            np.testing.assert_array_equal(column(browser, "nodes", "shown"), expected)
    use(browser, "colour", 4)
    np.testing.assert_array_equal(
        column(browser, "nodes", "shown"), found.at(2)["node_persistence"]
    )
    # Places in space: as many millimetres to a pixel on both axes, whatever the window.
    for width in (1280, 700):
        browser.shape(width, 1000)
        settled(browser)
        unit = """["x", "y"].map((axis) => {
          const { start, end } = model("map")[`${axis}_range`];
          return (end - start) / model("map")[axis === "x" ? "inner_width" : "inner_height"];
        })"""
        x, y = browser.value(unit)
        assert x == pytest.approx(y, rel=0.1)
    for place, axes in enumerate(((0, 1), (1, 2), (0, 2))):
        use(browser, "view", place)
        where = np.stack([column(browser, "nodes", axis) for axis in "xy"], 1)
        np.testing.assert_array_equal(where, found.coordinates[:, axes])
    use(browser, "view", 3)
    assert browser.value("Array.from(model('map').left[0].major_label_overrides)") == [
        [0, "left"],
        [-1, "right"],
        [-2, "no group"],
    ]
    assert browser.value("model('names').visible")
    clicked(browser, "map", 1, -1)
    assert chosen(browser).startswith(f"{names[3]}, group right, lag 2 (4 s)")
    # Groups together: those of the left, of the right, of none.
    rows = [0, 2, 4, 1, 3, 5]
    sts, rtr = (found.at(2)[atom].astype(np.float32) for atom in ("sts", "rtr"))
    matrices = [sts, rtr, sts - rtr, sts / (sts + rtr)]
    matrices += [found.at(2)[a] for a in ("excess_sts", "null_sts_z", "null_rtr_z")]
    for place, matrix in enumerate(matrices):
        use(browser, "pairs", place)
        for i, j in ((0, 1), (2, 5), (4, 3)):
            told = browser.value(f"pairSaid({{ x: {j}.5, y: {5 - i}.5 }}, 'value')").split()[0]
            assert float(told.replace("−", "-")) == pytest.approx(
                matrix[rows[i], rows[j]], rel=1e-5
            )
            pair = browser.value(f"pairSaid({{ x: {j}.5, y: {5 - i}.5 }}, 'pair')")
            assert pair == f"{names[rows[i]]} and {names[rows[j]]}"
    strength = np.abs(np.nan_to_num(matrices[-1][3]))
    expected = [names[k] for k in np.argsort(-strength, kind="stable")[:5]]
    assert column(browser, "partner-values", "label") == expected
    use(browser, "chart", 1)
    assert "if unrelated" in browser.value("document.getElementById('chart-legend').innerText")
    for key, name, after in (("w", "condition", 0), ("v", "view", 0), ("o", "order", 1)):
        browser.press(key)
        settled(browser)
        assert browser.value(f"state.{name}") == after


def test_nodes_without_groups_are_named_in_the_matrix(browser, tmp_path):
    one = of_places()
    changes = {"group": "", "groups": "", "group_names": [""], "group_of": np.zeros(12, int)}
    opened(browser, tmp_path, replace(one, **changes))
    ticks = browser.value("Array.from(model('matrix').below[0].major_label_overrides.values())")
    assert ticks == list(one.labels)
    browser.value("choose(4)")
    settled(browser)
    assert chosen(browser).startswith("region 4, data")
    first = browser.value("document.getElementById('partners-table').rows[0].cells.length")
    assert first == 3


def test_it_fits_a_narrow_window(browser, tmp_path):
    browser.shape(390, 800)
    opened(browser, tmp_path, of_layers())
    assert browser.value("document.documentElement.scrollWidth") <= 390


def test_it_is_quick_at_1664_nodes(browser, tmp_path):
    explored = of_layers(26, 64)
    beyond = {w: symmetric(1664, 9 + k) - 0.1 for k, w in enumerate(WEIGHTS)}
    excess = PairValues(name="excess", unit="nats", values=beyond, diverging=True)
    explored = of_layers(26, 64, pairs=[*explored.pairs, excess])
    load = opened(browser, tmp_path, explored)
    page = (tmp_path / "explore.html").stat().st_size
    changes = {}
    for what, code in {
        "ranking": "explorer.set('ranking', 1)",
        "random weights": "explorer.set('condition', 1)",
        "another matrix": "explorer.set('pairs', 4)",
        "one that is computed": "explorer.set('pairs', 2)",
        "order by rank": "explorer.set('order', 1)",
        "a node": "choose(700)",
        "the next node": "choose(neighbour(1, 0))",
        "dark": "explorer.set('theme', 2)",
    }.items():
        changes[what] = browser.value(
            f"""(async () => {{
              const start = performance.now();
              await {code};
              await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
              return performance.now() - start;
            }})()"""
        )
    print(
        f"\n{page / 1e6:.1f} MB, ready in {load:.1f} s; ms:",
        {k: round(v) for k, v in changes.items()},
    )
    assert page < SIZE
    assert load < LOAD
    assert max(changes.values()) < 1000 * CHANGE
