// The keyboard: what every key does, which the help lists.

const help = () => document.getElementById("help");
const control = (name) => model(`${name}-control`);

// As if the control had been used, so that it shows what is chosen.
function use(name, value) {
  const own = control(name);
  if (own === null) return;
  if ("active" in own) own.active = value;
  else own.value = String(value);
}

function useNext(name) {
  const own = control(name);
  if (own === null) return;
  const count = (own.labels ?? own.options).length;
  use(name, (state[name] + 1) % count);
}

const KEYS = {
  ArrowLeft: () => choose(neighbour(-1, 0)),
  ArrowRight: () => choose(neighbour(1, 0)),
  ArrowUp: () => choose(neighbour(0, 1)),
  ArrowDown: () => choose(neighbour(0, -1)),
  Escape: () => choose(-1),
  w: () => useNext("condition"),
  c: () => useNext("colour"),
  v: () => useNext("view"),
  m: () => useNext("pairs"),
  o: () => useNext("order"),
  p: () => useNext("profile"),
  e: () => useNext("chart"),
  t: () => useNext("theme"),
  "?": () => help().showModal(),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || help().open) return;
  const [target] = event.composedPath();
  if (target instanceof Element && target.matches("input, select, textarea")) return;
  const digit = Number(event.key);
  if (digit >= 1 && digit <= data.rankings.length) use("ranking", digit - 1);
  else if (event.key in KEYS) KEYS[event.key]();
  else return;
  event.preventDefault(); // arrows would scroll the page away
}
