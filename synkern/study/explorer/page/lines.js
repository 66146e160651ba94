// Charts of lines with bands: profiles over the groups, and what interventions did.

const framed = new Map(); // the chart to which a plot was last fitted

function drawLines(name, chart) {
  if (chart === undefined) return;
  const bands = { xs: [], ys: [], colour: [], alpha: [] };
  const lines = { xs: [], ys: [], colour: [], alpha: [], dash: [], width: [], name: [] };
  const points = { x: [], y: [], colour: [], alpha: [], marker: [], name: [], at: [], said: [] };
  const legend = document.getElementById(`${name}-legend`);
  legend.replaceChildren();
  const families = [];
  for (const line of chart.lines) {
    const family = line.name.split(" · ")[0];
    if (!families.includes(family)) families.push(family);
    if (line.published && state.published === 0) continue;
    const look = lookOf(line, families.indexOf(family));
    for (const [from, to] of stretches(line)) addBand(bands, line, look, from, to);
    if (line.style !== "dots") {
      for (const [from, to] of stretches(line)) {
        lines.xs.push(Array.from(line.x.slice(from, to)));
        lines.ys.push(Array.from(line.y.slice(from, to)));
        lines.colour.push(look.colour);
        lines.alpha.push(look.alpha);
        lines.dash.push(look.dash);
        lines.width.push(look.width);
        lines.name.push(line.name);
      }
    }
    if (family === line.name) addPoints(points, line, look, chart);
    legend.append(legendItem(line, look));
  }
  model(`${name}-bands`).data = bands;
  model(`${name}-lines`).data = lines;
  model(`${name}-points`).data = points;
  const plot = model(name);
  if (framed.get(name) !== chart) {
    // Another chart has other numbers: it is not shown in the frame to which the last was zoomed.
    const heights = chart.lines.flatMap(({ y, lower, upper }) => [y, lower ?? y, upper ?? y]);
    frame(plot.x_range, chart.lines.flatMap(({ x }) => Array.from(x)), (wide) => 0.03 * wide || 1);
    frame(plot.y_range, heights.flatMap((y) => Array.from(y)), (high) => 0.06 * high || 1);
    framed.set(name, chart);
  }
  plot.below[0].axis_label = chart.x_label;
  plot.left[0].axis_label = chart.y_label;
  document.getElementById(`${name}-note`).textContent = chart.note;
  markGroup(name, chart);
}

function lookOf(line, place) {
  const other = line.condition !== "" && line.condition !== condition();
  return {
    colour: lineColour(place),
    alpha: other ? 0.4 : 1,
    dash: DASHES[line.style] ?? [],
    width: other || line.published ? 1.5 : 2.5,
    marker: MARKERS[place % MARKERS.length],
  };
}

// From and to of every stretch without a gap.
function stretches({ x, y }) {
  const found = [];
  let start = 0;
  for (let i = 0; i <= x.length; i++) {
    if (i < x.length && Number.isFinite(y[i])) continue;
    if (i > start) found.push([start, i]);
    start = i + 1;
  }
  return found;
}

function addBand(bands, { x, lower, upper }, { colour, alpha }, from, to) {
  if (lower === null) return;
  const low = Array.from(lower.slice(from, to));
  const high = Array.from(upper.slice(from, to));
  if (![...low, ...high].every(Number.isFinite)) return;
  const along = Array.from(x.slice(from, to));
  bands.xs.push([...along, ...along.toReversed()]);
  bands.ys.push([...low, ...high.reverse()]);
  bands.colour.push(colour);
  bands.alpha.push(0.2 * alpha);
}

function addPoints(points, line, { colour, alpha, marker }, chart) {
  line.x.forEach((x, i) => {
    if (!Number.isFinite(line.y[i])) return;
    const group = chart.groups === null ? -1 : chart.groups.indexOf(x);
    points.x.push(x);
    points.y.push(line.y[i]);
    points.colour.push(colour);
    points.alpha.push(alpha);
    points.marker.push(marker);
    points.name.push(line.published ? `${line.name}, published` : line.name);
    points.at.push(group < 0 || line.published ? said(x) : `${data.group} ${data.group_names[group]}`);
    const band = line.lower === null ? "" : ` [${said(line.lower[i])}, ${said(line.upper[i])}]`;
    points.said.push(said(line.y[i]) + band);
  });
}

function legendItem(line, { colour, dash, alpha, width, marker }) {
  const item = element("li", "", { title: line.source });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 34 12");
  svg.setAttribute("aria-hidden", "true");
  const stroke = document.createElementNS(svg.namespaceURI, "line");
  const looks = { x1: 1, x2: 33, y1: 6, y2: 6, stroke: colour, opacity: alpha, "stroke-width": width };
  if (line.style === "dots") Object.assign(looks, { x1: 14, x2: 20, "stroke-width": 6 });
  if (dash.length) looks["stroke-dasharray"] = dash.join(" ");
  for (const [name, value] of Object.entries(looks)) stroke.setAttribute(name, value);
  svg.append(stroke);
  const shape = marker.replaceAll("_", " ");
  const marked = line.name.includes(" · ") || line.style === "dashed" ? "" : ` (${shape}s)`;
  item.append(svg, line.name + marked + (line.published ? ", published" : ""));
  return item;
}

// A line where the group of the chosen node lies.
function markGroup(name, chart) {
  const span = model(`${name}-group`);
  if (span === null || chart === undefined) return;
  const known = chart.groups !== null && state.node >= 0;
  span.visible = known;
  if (known) span.location = chart.groups[groupOf[state.node]];
}
