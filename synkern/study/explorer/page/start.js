// What controls and clicks call, and the first drawing.

const REDRAWN = {
  ranking() {
    drawMap();
    const own = data.profiles.findIndex(
      (chart) => chart.ranking === data.rankings[state.ranking].name,
    );
    if (own >= 0 && own !== state.profile) use("profile", own);
    if (state.order === 1) return drawMatrix();
  },
  condition() {
    drawMap();
    drawLines("profile", data.profiles[state.profile]);
    drawLines("chart", data.charts[state.chart]);
    return drawMatrix();
  },
  colour: drawMap,
  view() {
    frameMap();
    drawMap();
    drawPairsOfChosen();
  },
  pairs: drawMatrix,
  order: drawMatrix,
  profile() {
    drawLines("profile", data.profiles[state.profile]);
  },
  chart() {
    drawLines("chart", data.charts[state.chart]);
  },
  published() {
    drawLines("profile", data.profiles[state.profile]);
    drawLines("chart", data.charts[state.chart]);
  },
  theme() {
    drawTheme();
    drawLines("profile", data.profiles[state.profile]);
    drawLines("chart", data.charts[state.chart]);
  },
};

const explorer = {
  set(what, value) {
    state[what] = value;
    return REDRAWN[what]();
  },
  find(label) {
    const wanted = label.trim().toLowerCase();
    const node = data.labels.findIndex((each) => each.toLowerCase() === wanted);
    if (node >= 0) return choose(node);
    if (wanted) document.getElementById("chosen").textContent = `There is no ${data.node} “${label}”.`;
  },
  pairSaid,
  tapMap: (x, y) => choose(nearest(x, y)),
  tapMatrix(x, y) {
    const at = rowAt(x, y);
    if (at !== null) return choose(rows.nodes[at[0]][0]);
  },
  tapPartner(y) {
    const partner = partners[partners.length - 1 - Math.floor(y)];
    if (partner !== undefined) return choose(rows.nodes[partner.row][0]);
  },
};

(async () => {
  const items = JSON.parse(document.getElementById("plots").textContent);
  const slots = Object.entries(items);
  await Promise.all(slots.map(([slot, item]) => Bokeh.embed.embed_item(item, slot)));
  document.addEventListener("keydown", pressed);
  document.getElementById("help-button").addEventListener("click", () => help().showModal());
  for (const name of ["inner_width", "inner_height"]) {
    model("map").properties[name].change.connect(reshaped);
  }
  systemIsDark.addEventListener("change", REDRAWN.theme);
  frameMap();
  REDRAWN.theme();
  drawMap();
  await drawMatrix();
  document.documentElement.dataset.ready = "yes";
})();
