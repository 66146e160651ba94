// What the page shows, what of it is chosen, and how numbers are said.

const data = JSON.parse(document.getElementById("explored").textContent);
const state = {
  ranking: 0, condition: 0, colour: 0, view: 0, pairs: 0, order: 0, profile: 0, chart: 0,
  published: 1, theme: 0, node: -1,
};
const none = new Float64Array(data.labels.length).fill(NaN);
const groupOf = packing.array(data.group_of);
for (const view of data.views) {
  view.x = packing.array(view.x);
  view.y = packing.array(view.y);
}
for (const one of [...data.rankings, ...data.values]) {
  for (const condition of Object.keys(one.values)) {
    one.values[condition] = packing.array(one.values[condition]);
  }
}
for (const chart of [...data.profiles, ...data.charts]) {
  chart.groups = packing.array(chart.groups);
  for (const line of chart.lines) {
    for (const name of ["x", "y", "lower", "upper"]) line[name] = packing.array(line[name]);
  }
}

// Nodes are rows of the matrices; or blocks of nodes are, where there are too many.
const blockOf = packing.array(data.block_of);
const rows = rowsOf();

function rowsOf() {
  if (blockOf === null) {
    return { count: data.labels.length, of: (node) => node, nodes: data.labels.map((_, i) => [i]) };
  }
  const nodes = [];
  blockOf.forEach((block, node) => (nodes[block] ??= []).push(node));
  return { count: nodes.length, of: (node) => blockOf[node], nodes };
}

function rowLabel(row) {
  const own = rows.nodes[row];
  const last = data.labels[own.at(-1)];
  return own.length === 1 ? last : `${data.labels[own[0]]} to ${last}`;
}

const condition = () => data.conditions[state.condition];
const valuesOf = (one) => one.values[condition()] ?? none;
const scores = () => valuesOf(data.rankings[state.ranking]);
const shownInMap = () =>
  state.colour === 0 ? data.rankings[state.ranking] : data.values[state.colour - 1];

// 1 for the highest; equal values share the better rank, and what has no value has none (0).
const ranksOf = (() => {
  const kept = new Map();
  return (values) => {
    if (!kept.has(values)) kept.set(values, rank(values));
    return kept.get(values);
  };
  function rank(values) {
    const order = [...values.keys()].filter((i) => !Number.isNaN(values[i]));
    order.sort((a, b) => values[b] - values[a]);
    const ranks = new Int32Array(values.length);
    order.forEach((node, place) => {
      const before = order[place - 1];
      const tied = place > 0 && values[before] === values[node];
      ranks[node] = tied ? ranks[before] : place + 1;
    });
    return ranks;
  }
})();

// Six figures: what a float32 has for sure.
function said(value, unit = "") {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "no value" : String(value);
  const text = String(Number(value.toPrecision(6))).replaceAll("-", "−");
  return unit ? `${text} ${unit}` : text;
}

function saidOf(one, node) {
  const values = valuesOf(one);
  const rank = ranksOf(values)[node];
  const ranked = rank ? `, rank ${rank} of ${values.length}` : "";
  return said(values[node], one.unit) + ranked;
}

// Ends for colours: all but the most extreme values, which would leave the others in one colour.
function limitsOf(values, diverging) {
  const step = Math.max(1, Math.floor(values.length / 200000));
  const some = [];
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) some.push(values[i]);
  const sorted = Float64Array.from(some).sort();
  if (!sorted.length) return [0, 1];
  const low = sorted[Math.floor(0.005 * (sorted.length - 1))];
  const high = sorted[Math.ceil(0.995 * (sorted.length - 1))];
  if (!diverging) return low < high ? [low, high] : [low - 0.5, low + 0.5];
  const largest = Math.max(Math.abs(low), Math.abs(high)) || 1;
  return [-largest, largest];
}

// Models of Bokeh by name.
const model = (() => {
  const kept = new Map();
  return (name) => {
    if (!kept.has(name)) {
      const found = Bokeh.documents.map((doc) => doc.get_model_by_name(name)).find((m) => m !== null);
      kept.set(name, found ?? null);
    }
    return kept.get(name);
  };
})();

const setRange = (range, start, end) =>
  range.setv({ start, end, reset_start: start, reset_end: end });

// A range that holds all numbers, with some room; those that are none do not count.
function frame(range, values, room) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [0, 1];
  const beside = room(high - low);
  setRange(range, low - beside, high + beside);
}

const element = (tag, text, attributes = {}) => {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
};
