// The series as strips of frames. Only those near the window have content.

const main = document.getElementById("series");
const VERDICT = { true: "✓ Keep", false: "✕ Reject", null: "? Undecided" };
let current = null; // the frame that the keys act on

/** An element: its tag and classes, attributes, and what is in it. Texts never become markup. */
function make(tag, attributes = {}, ...content) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...content);
  return element;
}

/** A name as it is, but with everything to be seen that would break a line or turn the direction of writing. */
function visible(text) {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g, (character) => {
    const code = character.codePointAt(0);
    return code < 0x20 ? String.fromCodePoint(0x2400 + code) : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

function percent(p) {
  if (p === null) return "–";
  return p > 0 && p < 0.01 ? "< 1 %" : `${Math.round(100 * p)} %`;
}

function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function drawSeries(series) {
  const id = `series-${series.number}`;
  series.title = make("h2", { id }, visible(series.name), " ", make("small"));
  series.strip = make("div.strip", { role: "grid", "aria-labelledby": id });
  series.section = make("section", { "aria-labelledby": id }, series.title, series.strip);
  series.section.style.setProperty("--frames", series.frames.length);
  series.section.series = series;
  tellSeries(series);
  return series.section;
}

function tellSeries(series) {
  const decisions = series.frames.map(decisionOn);
  const undecided = decisions.filter((each) => each === null).length;
  const counts = [plural(decisions.length, "frame"), `${decisions.filter((each) => each).length} kept`];
  if (undecided) counts.push(`${undecided} undecided`);
  series.title.lastChild.textContent = counts.join(" · ");
}

function drawFrame(frame) {
  const id = `frame-${frame.series.number}-${frame.place}`;
  const image = make("img", { alt: `Thumbnail of ${visible(frame.name)}`, decoding: "async" });
  const first = frame.rank === 1 && !frame.bracket && frame.series.frames.length > 1;
  const card = make(
    "div.frame", { role: "gridcell", id, "aria-labelledby": `${id}-name ${id}-verdict ${id}-p`,
      "aria-describedby": `${id}-why` },
    make("div.picture", {}, image, make("span.rank", {}, first ? "1 · pick" : frame.rank),
      make("span.verdict", { id: `${id}-verdict` })),
    make("div.name", { id: `${id}-name`, title: visible(frame.path) }, make("bdi", {}, visible(frame.name))),
    make("div.chance", { id: `${id}-p` }, make("span", {}, `P(best) ${percent(frame.p)}`),
      make("i", { "aria-hidden": "true" }, make("b"))),
    make("ul.why", { id: `${id}-why` }, ...remarks(frame)),
    tools(frame),
  );
  card.querySelector("b").style.width = `${100 * (frame.p ?? 0)}%`;
  card.classList.toggle("first", first);
  card.frame = frame;
  frame.card = card;
  showPicture(frame);
  tellFrame(frame);
  return card;
}

function remarks(frame) {
  const copies = frame.copies.map(visible).join(", ");
  const lines = [
    frame.bracket && ["bracket", `exposure bracket ${visible(frame.bracket)}: kept together`],
    ...frame.reasons.map((reason) => ["reason", visible(reason)]),
    copies && ["copies", `the same photo as ${copies}`],
    frame.missing && ["missing", `no thumbnail: the photo ${visible(frame.missing)}`],
  ];
  return lines.filter(Boolean).map(([kind, text]) => make(`li.${kind}`, {}, text));
}

function tools(frame) {
  // Not in the order of tabs: the keys K, X, Z and 1 to 5 do the same, and stepping through hundreds of buttons helps nobody.
  const button = (what, label, content) =>
    make("button", { type: "button", tabindex: "-1", "data-do": what, "aria-label": `${label} ${visible(frame.name)}` },
      content);
  const stars = [1, 2, 3, 4, 5].map((count) => button(`${count}`, `${plural(count, "star")} for`, "☆"));
  return make("div.tools", {},
    make("span", {}, button("keep", "Keep", "Keep"), button("reject", "Reject", "Reject"), button("zoom", "Zoom", "100 %")),
    make("span.stars", {}, ...stars));
}

function tellFrame(frame) {
  const decision = decisionOn(frame);
  const { keep, stars } = choiceOf(frame);
  const { card } = frame;
  card.dataset.keep = String(decision);
  card.querySelector(".verdict").textContent = VERDICT[decision] + (isChanged(frame) ? " (you)" : "");
  card.tabIndex = frame.place === frame.series.at ? 0 : -1;
  for (const [number, star] of card.querySelectorAll(".stars button").entries()) {
    star.classList.toggle("on", number < stars);
    star.textContent = number < stars ? "★" : "☆";
    star.setAttribute("aria-pressed", String(number + 1 === stars));
  }
  for (const [what, value] of [["keep", true], ["reject", false]]) {
    card.querySelector(`[data-do=${what}]`).setAttribute("aria-pressed", String(keep === value));
  }
}

function pictureOf(frame) {
  frame.series.pictures ??= document.getElementById(`pictures-${frame.series.number}`)?.textContent.split("\n");
  const data = frame.series.pictures?.[frame.place];
  return data ? `data:image/jpeg;base64,${data}` : null;
}

function showPicture(frame) {
  const source = pictureOf(frame);
  if (source) frame.card.querySelector("img").src = source;
}

function fill(series) {
  if (series.strip.childElementCount) return;
  series.strip.append(make("div.row", { role: "row" }, ...series.frames.map(drawFrame)));
  series.section.style.minHeight = "";
}

function empty(series) {
  if (!series.strip.childElementCount || series === current?.series) return;
  series.section.style.minHeight = `${series.section.offsetHeight}px`;
  series.strip.replaceChildren();
  for (const frame of series.frames) frame.card = null;
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) (isIntersecting ? fill : empty)(target.series);
  },
  { rootMargin: "800px 0px" },
);

/** Make a frame the one that the keys act on. Scrolling to it would move it away under a double click. */
function goTo(frame, scroll = true) {
  const { series } = frame;
  fill(series);
  const before = series.frames[series.at];
  series.at = frame.place;
  current = frame;
  tellFrame(before);
  tellFrame(frame);
  frame.card.focus({ preventScroll: true });
  if (scroll) frame.card.scrollIntoView({ block: "nearest", inline: "nearest" });
}
