// The map of the nodes, and the chosen one.

const view = () => data.views[state.view];

function drawMap() {
  const { x, y, x_label, y_label, cells, named, y_names } = view();
  const one = shownInMap();
  const columns = { x, y, shown: valuesOf(one), label: data.labels };
  columns.group = Array.from(groupOf, (group) => data.group_names[group]);
  [...data.rankings, ...data.values].forEach((each, place) => {
    columns[`v${place}`] = data.labels.map((_, node) => saidOf(each, node));
  });
  model("nodes").data = columns;
  setMapper(model("map-colours"), model("map-bar"), one, columns.shown);
  for (const name of ["", "chosen-", "partner-"]) {
    model(`${name}cells`).visible = cells;
    model(`${name}dots`).visible = !cells;
  }
  model("names").visible = named;
  const plot = model("map");
  plot.below[0].axis_label = x_label;
  plot.left[0].axis_label = y_label;
  plot.below[0].visible = x_label !== "";
  plot.left[0].visible = y_label !== "";
  nameTicks(plot.left[0], y_names);
  drawChosen();
}

// Names in the place of numbers, where there are any.
const numbered = new Map(); // the ticker of an axis that has numbers

function nameTicks(axis, names) {
  if (!numbered.has(axis)) numbered.set(axis, axis.ticker);
  const FixedTicker = Bokeh.Models.get("FixedTicker");
  axis.major_label_overrides = new Map(names);
  axis.ticker = names.length ? new FixedTicker({ ticks: names.map(([at]) => at) }) : numbered.get(axis);
}

function frameMap() {
  const { x, y, cells, equal } = view();
  const plot = model("map");
  const room = (wide) => (cells ? 0.6 : 0.06 * wide || 1);
  frame(plot.x_range, x, room);
  frame(plot.y_range, y, room);
  if (equal) equalise(plot);
}

// A unit as long on both axes: the one with room to spare gets more of it.
function equalise(plot) {
  const sides = [[plot.x_range, plot.inner_width], [plot.y_range, plot.inner_height]];
  if (!sides.every(([, pixels]) => pixels > 0)) return;
  const unit = Math.max(...sides.map(([range, pixels]) => (range.end - range.start) / pixels));
  for (const [range, pixels] of sides) {
    const middle = (range.start + range.end) / 2;
    setRange(range, middle - (unit * pixels) / 2, middle + (unit * pixels) / 2);
  }
}

// Another shape of the plot needs other ranges; a few pixels, such as of longer numbers, do not.
let shaped = [0, 0];

function reshaped() {
  const plot = model("map");
  const now = [plot.inner_width, plot.inner_height];
  if (!view().equal || now.every((pixels, i) => Math.abs(pixels - shaped[i]) < 24)) return;
  shaped = now;
  frameMap();
}

// What is known of the chosen node, for readers and screen readers.
function drawChosen() {
  const place = document.getElementById("chosen");
  place.replaceChildren();
  const { x, y } = view();
  const at = state.node < 0 ? [] : [state.node];
  model("chosen").data = { x: at.map((node) => x[node]), y: at.map((node) => y[node]) };
  if (state.node < 0) {
    place.append(element("p", `No ${data.node} is chosen: click one, or press an arrow key.`));
    return;
  }
  const group = data.group ? `${data.group} ${data.group_names[groupOf[state.node]]}, ` : "";
  place.append(element("h3", `${data.labels[state.node]}, ${group}${condition()}`));
  const list = element("dl", "");
  for (const one of [...data.rankings, ...data.values]) {
    list.append(element("dt", one.name), element("dd", saidOf(one, state.node)));
  }
  place.append(list);
}

function choose(node) {
  state.node = node;
  drawChosen();
  markGroup("profile", data.profiles[state.profile]);
  return drawPairsOfChosen();
}

// The nearest node in a direction: a step along counts once, a step aside twice.
function neighbour(dx, dy) {
  const { x, y } = view();
  if (state.node < 0) return scores().reduce((best, s, i, all) => (s > all[best] ? i : best), 0);
  let best = state.node;
  let least = Infinity;
  for (let node = 0; node < x.length; node++) {
    const along = (x[node] - x[state.node]) * dx + (y[node] - y[state.node]) * dy;
    const aside = Math.abs((x[node] - x[state.node]) * dy) + Math.abs((y[node] - y[state.node]) * dx);
    if (along > 0 && along + 2 * aside < least) {
      least = along + 2 * aside;
      best = node;
    }
  }
  return best;
}

function nearest(atX, atY) {
  const { x, y, cells } = view();
  const plot = model("map");
  const width = plot.x_range.end - plot.x_range.start;
  const height = plot.y_range.end - plot.y_range.start;
  let best = -1;
  let least = Infinity;
  for (let node = 0; node < x.length; node++) {
    const dx = x[node] - atX;
    const dy = y[node] - atY;
    if (cells && (Math.abs(dx) > 0.5 || Math.abs(dy) > 0.5)) continue;
    const distance = (dx / width) ** 2 + (dy / height) ** 2;
    if (distance < least) {
      least = distance;
      best = node;
    }
  }
  return best;
}
