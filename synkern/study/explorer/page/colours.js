// Light and dark, and colours that all kinds of colour vision tell apart (Okabe and Ito's).

const LINE_COLOURS = {
  light: ["#0072B2", "#D55E00", "#007A5A", "#B0548A", "#8A6D00", "#3A86C8", "#555555"],
  dark: ["#56B4E9", "#FF9A4D", "#2FC79E", "#E59CC8", "#F0E442", "#9DCBFF", "#BBBBBB"],
};
const DASHES = { solid: [], dashed: [7, 4], dotted: [2, 3] };
const MARKERS = ["circle", "square", "triangle", "diamond", "inverted_triangle", "star", "hex"];
const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

const dark = () => (state.theme === 0 ? systemIsDark.matches : state.theme === 2);
const lineColour = (place) => {
  const colours = LINE_COLOURS[dark() ? "dark" : "light"];
  return colours[place % colours.length];
};

function setMapper(mapper, bar, one, values) {
  const [low, high] = limitsOf(values, one.diverging);
  mapper.setv({ palette: one.diverging ? PALETTES.diverging : PALETTES.sequential, low, high });
  bar.title = one.unit || one.name;
}

// What is drawn on a canvas does not follow the style sheet by itself.
function drawTheme() {
  document.documentElement.dataset.theme = dark() ? "dark" : "light";
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const line = style.getPropertyValue("--line").trim();
  for (const name of ["map", "matrix", "partners", "profile", "chart"]) {
    const plot = model(name);
    if (plot === null) continue;
    for (const axis of [...plot.below, ...plot.left]) {
      axis.setv({
        axis_label_text_color: ink, major_label_text_color: ink,
        axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null,
      });
    }
    for (const grid of plot.center) {
      if ("grid_line_color" in grid && grid.grid_line_color !== null) grid.grid_line_color = line;
    }
    const bar = model(`${name}-bar`);
    if (bar !== null) bar.setv({ major_label_text_color: ink, title_text_color: ink });
    for (const renderer of plot.renderers) {
      if (renderer.name?.startsWith("chosen-") || renderer.name?.startsWith("partner-")) {
        if ("line_color" in renderer.glyph) renderer.glyph.line_color = ink;
      }
    }
    const group = model(`${name}-group`);
    if (group !== null) group.line_color = ink;
  }
}
