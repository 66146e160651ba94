// The matrix of all pairs, and the strongest pairs of the chosen node.

const PARTNERS = 15;
const MOST_KEPT = 6;
const LEAST_SUM = 2 ** -40; // that of kernels/lattice.py
const kept = new Map(); // triangles, the latest last

async function triangleOf(place) {
  const key = `${place}, ${state.condition}`;
  if (!kept.has(key)) kept.set(key, loaded(place, condition()));
  const found = kept.get(key);
  kept.delete(key);
  kept.set(key, found);
  if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
  return found;
}

async function loaded(place, ofCondition) {
  const one = data.pairs[place];
  if (!one.rule) {
    const name = one.values[ofCondition];
    if (name === undefined) return new Float32Array((rows.count * (rows.count + 1)) / 2).fill(NaN);
    return packing.triangle(name);
  }
  const [a, b] = await Promise.all(one.of.map((of) => loaded(of, ofCondition)));
  const made = new Float32Array(a.length);
  const share = one.rule === "share";
  for (let i = 0; i < a.length; i++) {
    const sum = a[i] + b[i];
    made[i] = share ? (sum > LEAST_SUM ? a[i] / sum : NaN) : a[i] - b[i];
  }
  return made;
}

// Rows in the order in which they are shown.
function orderOfRows() {
  const order = Array.from({ length: rows.count }, (_, row) => row);
  const group = order.map((row) => groupOf[rows.nodes[row][0]]);
  if (state.order === 0) return order.sort((a, b) => group[a] - group[b] || a - b);
  const own = scores();
  const score = order.map((row) => {
    const known = rows.nodes[row].map((node) => own[node]).filter((each) => !Number.isNaN(each));
    return known.length ? known.reduce((a, b) => a + b) / known.length : -Infinity;
  });
  return order.sort((a, b) => score[b] - score[a] || a - b);
}

let order = [];
let placeOfRow = [];
let triangle = new Float32Array(0);
let drawing = 0;

async function drawMatrix() {
  if (!data.pairs.length) return;
  const turn = ++drawing;
  const found = await triangleOf(state.pairs);
  if (turn !== drawing) return; // something else was chosen meanwhile
  const one = data.pairs[state.pairs];
  const n = rows.count;
  const before = order.length;
  triangle = found;
  order = orderOfRows();
  placeOfRow = [];
  order.forEach((row, place) => (placeOfRow[row] = place));
  const image = new Float32Array(n * n);
  for (let r = 0; r < n; r++) {
    const i = order[r];
    const line = (n - 1 - r) * n; // images begin below
    for (let c = 0; c < n; c++) image[line + c] = found[packing.place(n, i, order[c])];
  }
  const source = model("matrix-image");
  const Image = source.data.image[0].constructor; // Bokeh's array with a shape
  setMapper(model("matrix-colours"), model("matrix-bar"), one, found);
  source.data = { image: [new Image(image, [n, n])], x: [0], y: [0], dw: [n], dh: [n] };
  if (before !== n) {
    setRange(model("matrix").x_range, 0, n);
    setRange(model("matrix").y_range, 0, n);
  }
  drawBorders(n);
  drawPairsOfChosen();
}

// Groups have borders and names, nodes that are in none have their own; by rank, places are numbered.
function drawBorders(n) {
  const borders = { x0: [], y0: [], x1: [], y1: [] };
  const ticks = new Map();
  if (state.order === 0 && !data.group) {
    order.forEach((row, place) => ticks.set(place + 0.5, rowLabel(row)));
  } else if (state.order === 0) {
    let start = 0;
    for (let place = 1; place <= n; place++) {
      const group = groupOf[rows.nodes[order[start]][0]];
      if (place < n && groupOf[rows.nodes[order[place]][0]] === group) continue;
      ticks.set((start + place) / 2, data.group_names[group]);
      if (place < n) {
        borders.x0.push(place, 0);
        borders.x1.push(place, n);
        borders.y0.push(0, n - place);
        borders.y1.push(n, n - place);
      }
      start = place;
    }
  } else {
    for (let part = 0; part <= 4; part++) {
      const place = Math.round(((n - 1) * part) / 4);
      ticks.set(place + 0.5, String(place + 1));
    }
  }
  model("matrix-borders").data = borders;
  const shown = [...ticks].filter((_, place) => place % Math.ceil(ticks.size / 12) === 0);
  const plot = model("matrix");
  const ranked = `rank by ${data.rankings[state.ranking].name}`;
  for (const [axis, flip] of [[plot.below[0], false], [plot.left[0], true]]) {
    const at = shown.map(([place]) => (flip ? n - place : place));
    axis.ticker.ticks = at;
    axis.major_label_overrides = new Map(at.map((place, i) => [place, shown[i][1]]));
    axis.axis_label = state.order === 0 ? data.group || data.node : ranked;
  }
  const longest = Math.max(...shown.map(([, name]) => name.length));
  plot.below[0].major_label_orientation = longest > 4 ? 0.7 : "horizontal";
}

const rowAt = (x, y) => {
  const n = rows.count;
  const row = order[n - 1 - Math.floor(y)];
  const column = order[Math.floor(x)];
  return row === undefined || column === undefined ? null : [row, column];
};

function pairSaid({ x, y }, format) {
  const at = rowAt(x, y);
  if (at === null) return "";
  if (format === "pair") return at.map(rowLabel).join(" and ");
  return said(triangle[packing.place(rows.count, ...at)], data.pairs[state.pairs].unit);
}

function partnersOf(node) {
  const own = rows.of(node);
  const one = data.pairs[state.pairs];
  const found = [];
  for (let row = 0; row < rows.count; row++) {
    const value = triangle[packing.place(rows.count, own, row)];
    if (Number.isFinite(value)) found.push({ row, value });
  }
  const strength = one.diverging ? ({ value }) => Math.abs(value) : ({ value }) => value;
  return found.sort((a, b) => strength(b) - strength(a)).slice(0, PARTNERS);
}

let partners = [];

function drawPairsOfChosen() {
  if (!data.pairs.length || !triangle.length) return;
  const one = data.pairs[state.pairs];
  const n = rows.count;
  partners = state.node < 0 ? [] : partnersOf(state.node);
  const labels = partners.map(({ row }) => rowLabel(row));
  model("partners").y_range.factors = labels.toReversed();
  model("partner-values").data = {
    label: labels,
    value: partners.map(({ value }) => value),
    said: partners.map(({ value }) => said(value, one.unit)),
  };
  const ends = [0, ...partners.map(({ value }) => value)];
  frame(model("partners").x_range, ends, (wide) => 0.04 * wide || 1);
  model("partners").below[0].axis_label = one.unit ? `${one.name}, ${one.unit}` : one.name;
  const { x, y } = view();
  const nodes = partners.flatMap(({ row }) => rows.nodes[row]);
  model("partner").data = { x: nodes.map((i) => x[i]), y: nodes.map((i) => y[i]) };
  const place = state.node < 0 ? -1 : placeOfRow[rows.of(state.node)];
  model("matrix-chosen").data =
    place < 0
      ? { x: [], y: [], width: [], height: [] }
      : { x: [place + 0.5, n / 2], y: [n / 2, n - place - 0.5], width: [1, n], height: [n, 1] };
  drawTable(one, labels);
}

function drawTable(one, labels) {
  const caption = document.getElementById("partners-said");
  const body = document.getElementById("partners-table");
  body.replaceChildren();
  if (state.node < 0) {
    caption.textContent = `Choose a ${data.node} to see its strongest pairs.`;
    return;
  }
  const own = rowLabel(rows.of(state.node));
  const strongest = one.diverging ? "strongest, of either sign" : "highest";
  caption.textContent = `${own}: ${strongest} in ${one.name}, ${condition()}`;
  partners.forEach(({ row, value }, place) => {
    const line = element("tr", "");
    const cell = element("td", "");
    const button = element("button", labels[place], { type: "button" });
    button.addEventListener("click", () => choose(rows.nodes[row][0]));
    cell.append(button);
    line.append(element("td", place + 1), cell);
    if (data.group) line.append(element("td", data.group_names[groupOf[rows.nodes[row][0]]]));
    line.append(element("td", said(value, one.unit)));
    body.append(line);
  });
}
