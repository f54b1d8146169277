// The page as a whole: what is said at its head, the filter, the keys.

const said = document.getElementById("said");
const show = document.getElementById("show");
const nameFilter = document.getElementById("name");
const keysDialog = document.getElementById("keys");

function drawHead() {
  document.getElementById("about").textContent = visible(report.about);
  tellFigures();
  if (report.failures.length) {
    const failures = document.getElementById("failures");
    failures.hidden = false;
    failures.firstChild.textContent = `${plural(report.failures.length, "photo")} could not be ranked`;
    failures.lastChild.append(
      ...report.failures.map(({ path, error }) => make("li", {}, make("bdi", {}, visible(path)), `: ${visible(error)}`)));
  }
  if (report.pages.length > 1) {
    const pages = document.getElementById("pages");
    pages.hidden = false;
    pages.append("Page ", ...report.pages.flatMap((name, number) => {
      const here = number === report.page ? { "aria-current": "page" } : {};
      return [make("a", { href: name, ...here }, `${number + 1}`), " "];
    }));
  }
}

/** How many there are, in all pages; what was chosen in this one is counted as chosen. */
function tellFigures() {
  const figures = { ...report.figures, failed: report.failures.length };
  for (const frame of report.series.flatMap((series) => series.frames)) {
    figures[KEEP[frame.keep]] -= 1;
    figures[KEEP[decisionOn(frame)]] += 1;
  }
  const { photos, series, keep, reject, undecided, failed } = figures;
  const told = { photos, series, kept: keep, rejected: reject, undecided, failed };
  document.getElementById("figures").replaceChildren(...Object.entries(told).map(([what, count]) =>
    make("div", {}, make("dt", {}, what), make("dd", {}, count.toLocaleString("en")))));
}

let saidFor = 0;

function say(text) {
  said.textContent = kept ? text : `${text} This browser keeps no choices: download them before you leave.`;
  said.classList.remove("old");
  clearTimeout(saidFor);
  saidFor = setTimeout(() => said.classList.add("old"), 6000);
}

function isShown(series) {
  const wanted = nameFilter.value.trim().toLowerCase();
  const named = () => [series.name, ...series.frames.map((frame) => frame.path)]
    .some((name) => name.toLowerCase().includes(wanted) || visible(name).toLowerCase().includes(wanted));
  if (show.value === "undecided" && !series.frames.some((frame) => decisionOn(frame) === null)) return false;
  if (show.value === "changed" && !series.frames.some(isChanged)) return false;
  return !wanted || named();
}

function filter() {
  let count = 0;
  for (const series of report.series) {
    series.section.hidden = !isShown(series);
    count += series.section.hidden ? 0 : 1;
  }
  const all = report.series.length;
  document.getElementById("shown").textContent = count === all ? plural(all, "series", "series") : `${count} of ${all} series`;
  document.getElementById("nothing").hidden = count > 0;
}

function update(frame) {
  if (frame.card) tellFrame(frame);
  tellSeries(frame.series);
  if (zoom.open && frame === current) tellZoom(frame);
}

function change(frame, wanted) {
  choose(frame, wanted);
  update(frame);
  tellFigures();
  const { stars } = choiceOf(frame);
  say(`${visible(frame.name)}: ${KEEP[decisionOn(frame)]}${stars ? `, ${plural(stars, "star")}` : ""}.`);
}

/** The next series that is shown, in a direction; the same where there is none. */
function seriesBeside(series, step) {
  let number = series.number + step;
  while (report.series[number]?.section.hidden) number += step;
  return report.series[number] ?? series;
}

function step(frame, by) {
  const next = frame.series.frames[frame.place + by];
  if (!next) return;
  if (!zoom.open) goTo(next);
  else {
    frame.series.at = next.place;
    update(frame);
    update(next);
    showOriginal(next);
  }
}

function toSeries(frame, by) {
  const series = seriesBeside(frame.series, by);
  if (series !== frame.series && !zoom.open) goTo(series.frames[series.at]);
}

function accept(frame) {
  const decided = frame.series.frames.filter((each) => decisionOn(each) !== null);
  for (const each of decided) choose(each, { keep: decisionOn(each) });
  frame.series.frames.forEach(update);
  tellFigures();
  const open = frame.series.frames.length - decided.length;
  say(`${plural(decided.length, "frame")} accepted as shown${open ? `; still undecided: ${open}` : ""}.`);
  toSeries(frame, 1);
}

const ACTIONS = {
  left: (frame) => step(frame, -1), right: (frame) => step(frame, 1),
  up: (frame) => toSeries(frame, -1), down: (frame) => toSeries(frame, 1),
  first: (frame) => step(frame, -frame.place), last: (frame) => step(frame, frame.series.frames.length - 1 - frame.place),
  keep: (frame) => change(frame, { keep: true }), reject: (frame) => change(frame, { keep: false }),
  undo: (frame) => change(frame, { keep: null, stars: 0 }), accept,
  zoom: (frame) => openZoom(frame), close: () => closeZoom(),
};
for (const stars of [0, 1, 2, 3, 4, 5]) ACTIONS[stars] = (frame) => change(frame, { stars });

const KEYS = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last", Enter: "accept",
  k: "keep", x: "reject", u: "undo", z: "zoom", 0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5,
};

function actionOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return zoom.open && key === "z" ? "close" : KEYS[key];
}

/** The frame that the keys act on: the last one, or the first that the filter shows. */
function here() {
  if (!current || current.series.section.hidden) {
    current = report.series.find((series) => !series.section.hidden)?.frames[0] ?? null;
  }
  return current;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || keysDialog.open) return;
  const { target } = event;
  if (target.closest("input, select, summary, a")) return; // they have keys of their own
  if (zoom.open && event.shiftKey && event.key.startsWith("Arrow")) {
    const by = { ArrowLeft: [-0.2, 0], ArrowRight: [0.2, 0], ArrowUp: [0, -0.2], ArrowDown: [0, 0.2] }[event.key];
    move(by[0] * stage.clientWidth, by[1] * stage.clientHeight);
    event.preventDefault();
    return;
  }
  if (event.key === "/" && !zoom.open) nameFilter.focus();
  else if (event.key === "?") keysDialog.showModal();
  else {
    const action = actionOf(event);
    const onButton = target.closest("button") && (event.key === "Enter" || event.key === " ");
    if (action === undefined || onButton || !here()) return;
    const isThere = zoom.open || target.closest(".frame");
    const moves = event.key.startsWith("Arrow");
    if (!isThere) goTo(current); // the first key shows where one is
    // A key that is held down goes on moving, but decides once: Enter would accept series that nobody saw.
    const decides = event.key === "Enter" ? isThere && !event.repeat : !moves && !event.repeat;
    if (decides || (isThere && moves)) ACTIONS[action](current);
  }
  event.preventDefault();
});

main.addEventListener("focusin", (event) => {
  const card = event.target.closest(".frame");
  if (card && card.frame !== current) goTo(card.frame, false);
});
main.addEventListener("click", (event) => {
  const card = event.target.closest(".frame");
  if (!card) return;
  const wanted = event.target.closest("button")?.dataset.do;
  goTo(card.frame, false);
  if (wanted) ACTIONS[/\d/.test(wanted) && choiceOf(card.frame).stars === Number(wanted) ? 0 : wanted](card.frame);
});
main.addEventListener("dblclick", (event) => {
  const card = event.target.closest(".frame");
  if (!card || event.target.closest("button")) return;
  if (event.target.matches("img")) placeOn(event.target, event);
  openZoom(card.frame);
});
zoom.addEventListener("click", (event) => {
  const wanted = event.target.closest("button")?.dataset.do;
  if (wanted) ACTIONS[wanted](current);
});

function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme === "dark" || (!theme && matchMedia("(prefers-color-scheme: dark)").matches);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = isDark() ? "Light" : "Dark";
}

document.getElementById("theme").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  setTheme(theme);
  try {
    localStorage.setItem("photorank:theme", theme);
  } catch {
    kept = false;
  }
});
addEventListener("storage", (event) => { // another tab chose
  for (const frame of report.series.flatMap((series) => series.frames)) {
    if (event.key !== null && event.key !== entryOf(frame)) continue;
    reread(entryOf(frame));
    update(frame);
  }
  tellFigures();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  setTheme(document.documentElement.dataset.theme ?? ""));
document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
document.getElementById("save-choices").addEventListener("click", () => download("choices.csv", choicesTable()));
document.getElementById("save-comparisons").addEventListener("click", () => {
  const rows = comparisonsTable();
  if (rows.length > 1) download("comparisons.csv", rows);
  say(rows.length > 1 ? `${plural(rows.length - 1, "comparison")}.` :
    "No comparisons yet: keep one frame of a series and reject another, or give them different stars.");
});
document.getElementById("keys-button").addEventListener("click", () => keysDialog.showModal());
show.addEventListener("change", filter);
nameFilter.addEventListener("input", filter);

setTheme(kept ? (localStorage.getItem("photorank:theme") ?? "") : "");
drawHead();
main.append(...report.series.map(drawSeries));
filter();
for (const series of report.series) near.observe(series.section);
addEventListener("DOMContentLoaded", () => {
  // The thumbnails come after this script, so that the page shows before they are all read.
  for (const series of report.series) {
    series.pictures = undefined;
    if (series.strip.childElementCount) series.frames.forEach(showPicture);
  }
});
