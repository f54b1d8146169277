// What the person chose: kept in this browser, a frame an entry, and given out as CSV.

const report = JSON.parse(document.getElementById("data").textContent);
for (const [number, series] of report.series.entries()) {
  series.number = number;
  series.at = 0; // the frame that the keyboard is at
  for (const [place, frame] of series.frames.entries()) Object.assign(frame, { series, place });
}

const KEEP = { true: "keep", false: "reject", null: "undecided" };
const shelf = new Map(); // entry's name → {keep: true, false or null, stars: 0 to 5}; null: as the ranker has it
let kept = true; // whether the browser keeps what is chosen

try {
  for (const name of Object.keys(localStorage)) {
    if (name.startsWith(`photorank:${report.id}:`)) shelf.set(name, readChoice(localStorage.getItem(name)));
  }
} catch {
  kept = false;
}

function readChoice(text) {
  try {
    const { keep = null, stars = 0 } = JSON.parse(text);
    return { keep, stars };
  } catch {
    return { keep: null, stars: 0 };
  }
}

/** A choice is of the photo, whatever its series is called now; only of one that is in several, of it in this one. */
function entryOf(frame) {
  const photo = `photorank:${report.id}:${frame.key}`;
  return frame.repeated ? `${photo}:${frame.series.name}` : photo;
}

function choiceOf(frame) {
  return shelf.get(entryOf(frame)) ?? { keep: null, stars: 0 };
}

/** What holds for the frame: true, false, or null where nobody decided. */
function decisionOn(frame) {
  return choiceOf(frame).keep ?? frame.keep;
}

function isChanged(frame) {
  const { keep } = choiceOf(frame);
  return keep !== null && keep !== frame.keep;
}

/** Take an entry as the browser has it: another tab may have chosen since. */
function reread(name) {
  if (!kept) return;
  try {
    const text = localStorage.getItem(name);
    if (text === null) shelf.delete(name);
    else shelf.set(name, readChoice(text));
  } catch {
    kept = false;
  }
}

function choose(frame, change) {
  reread(entryOf(frame));
  const choice = { ...choiceOf(frame), ...change };
  const isNone = choice.keep === null && choice.stars === 0;
  if (isNone) shelf.delete(entryOf(frame));
  else shelf.set(entryOf(frame), choice);
  try {
    if (isNone) localStorage.removeItem(entryOf(frame));
    else localStorage.setItem(entryOf(frame), JSON.stringify(choice));
  } catch {
    kept = false;
  }
}

/** A cell that no spreadsheet takes for a formula, as Python's side writes it. */
function cell(value) {
  let text = String(value ?? "");
  if (/^'*[=+\-@\t\r\n]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function choicesTable() {
  const rows = [["path", "key", "series", "rank", "p_best", "ranker", "choice", "keep", "stars"]];
  for (const series of report.series) {
    for (const frame of series.frames) {
      const { keep, stars } = choiceOf(frame);
      rows.push([
        frame.path, frame.key, series.name, frame.rank, frame.p, KEEP[frame.keep], keep === null ? "" : KEEP[keep],
        decisionOn(frame), stars || "",
      ]);
    }
  }
  return rows;
}

/** Which of two frames the person prefers: above 0 the first, below 0 the second; 0 where they did not say. */
function preference(one, other) {
  const [a, b] = [choiceOf(one), choiceOf(other)];
  const byChoice = a.keep === null || b.keep === null ? 0 : a.keep - b.keep;
  const byStars = a.stars && b.stars ? Math.sign(a.stars - b.stars) : 0;
  return byChoice * byStars < 0 ? 0 : byChoice || byStars;
}

function comparisonsTable() {
  const rows = [["series", "left", "right", "winner", "left_path", "right_path"]];
  for (const series of report.series) {
    // Frames of a bracket are kept together, whichever is the best.
    const frames = series.frames.filter((frame) => !frame.bracket && shelf.has(entryOf(frame)));
    // The left one has the smaller key, which is as good as a coin: the side tells nothing.
    frames.sort((one, other) => (one.key < other.key ? -1 : 1));
    for (const [number, left] of frames.entries()) {
      for (const right of frames.slice(number + 1)) {
        const sign = left.key === right.key ? 0 : preference(left, right);
        if (sign === 0) continue;
        rows.push([series.name, left.key, right.key, sign > 0 ? "left" : "right", left.path, right.path]);
      }
    }
  }
  return rows;
}

function download(name, rows) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
