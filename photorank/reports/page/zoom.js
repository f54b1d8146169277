// The original at 100 %: a pixel of the photo is a pixel of the screen, at the same place of each frame of a series.

const zoom = document.getElementById("zoom");
const stage = document.getElementById("stage");
const place = { x: 0.5, y: 0.5 }; // the middle of what is seen, in widths and heights of the photo
const SOON = 60; // milliseconds in which nobody decides
let zoomed = null; // the frame that is seen; closing gives the focus back to the first one, which would become the current
let ahead = []; // the neighbours, so that they are there when they are asked for

function openZoom(frame) {
  zoom.showModal();
  zoom.append(said); // what lies outside of an open dialog is neither seen nor read out
  showOriginal(frame);
}

function closeZoom() {
  zoom.close();
  leaveZoom(); // at once: a key that follows is for the frame that was seen last, and the event comes later
}

function leaveZoom() {
  if (zoom.open || !zoomed) return;
  const frame = zoomed;
  zoomed = null;
  document.body.append(said);
  stage.replaceChildren();
  ahead = [];
  goTo(frame);
}

async function showOriginal(frame) {
  current = zoomed = frame;
  document.getElementById("zoom-name").textContent = visible(frame.name);
  const number = `${frame.place + 1} of ${frame.series.frames.length}`;
  document.getElementById("zoom-place").textContent = `${number} · P(best) ${percent(frame.p)}`;
  tellZoom(frame);
  const image = make("img", { alt: `${visible(frame.name)} at 100 %`, draggable: "false" });
  const note = document.getElementById("zoom-note");
  note.textContent = "";
  image.src = frame.url;
  const decoded = image.decode().then(() => true, () => false);
  await Promise.race([decoded, pause(SOON)]);
  if (zoomed === frame) hold(frame);
  if (!(await decoded)) {
    if (zoomed !== frame) return;
    const picture = pictureOf(frame);
    image.src = picture ?? "";
    image.alt = `Thumbnail of ${visible(frame.name)}`;
    await image.decode().catch(() => null);
    note.textContent = `The browser cannot show ${visible(frame.name)}: it does not know the format, or the file is not there any more.${picture ? " This is its thumbnail." : ""}`;
  }
  if (zoomed !== frame) return; // another one was asked for meanwhile
  stage.replaceChildren(image);
  move(0, 0);
  const { frames } = frame.series;
  ahead = [frames[frame.place + 1], frames[frame.place - 1]].filter(Boolean).map((each) => {
    const next = new Image();
    next.src = each.url;
    return next;
  });
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Until the original is there, its thumbnail in the place of the frame before: never that frame under this one's name. */
function hold(frame) {
  const before = stage.firstElementChild;
  const picture = pictureOf(frame);
  if (!before || !picture) return stage.replaceChildren();
  const image = make("img", { alt: `${visible(frame.name)} is loading`, draggable: "false", src: picture });
  image.style.cssText = before.style.cssText;
  image.dataset.loading = "";
  stage.replaceChildren(image);
}

function tellZoom(frame) {
  const verdict = document.getElementById("zoom-verdict");
  const { stars } = choiceOf(frame);
  verdict.textContent = `${VERDICT[decisionOn(frame)]}${stars ? ` ${"★".repeat(stars)}` : ""}`;
  zoom.dataset.keep = String(decisionOn(frame));
}

/** Move what is seen by pixels of the window. A photo that is smaller than the window stays in its middle. */
function move(x, y) {
  const image = stage.firstElementChild;
  if (!image?.naturalWidth || "loading" in image.dataset) return;
  const size = { x: image.naturalWidth / devicePixelRatio, y: image.naturalHeight / devicePixelRatio };
  const view = { x: stage.clientWidth, y: stage.clientHeight };
  const corner = {};
  for (const [axis, by] of [["x", x], ["y", y]]) {
    const half = view[axis] / 2 / size[axis];
    const wanted = place[axis] + by / size[axis];
    const seen = half >= 0.5 ? 0.5 : Math.min(Math.max(wanted, half), 1 - half);
    if (by) place[axis] = seen;
    corner[axis] = Math.round(view[axis] / 2 - seen * size[axis]);
  }
  image.style.width = `${size.x}px`;
  image.style.transform = `translate(${corner.x}px, ${corner.y}px)`;
}

/** The place of a thumbnail that was clicked, in widths and heights of the photo. */
function placeOn(image, event) {
  const box = image.getBoundingClientRect();
  const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
  const share = (at, start, length, natural) => 0.5 + (at - start - length / 2) / (natural * scale);
  const inside = (value) => Math.min(Math.max(value, 0), 1);
  place.x = inside(share(event.clientX, box.left, box.width, image.naturalWidth));
  place.y = inside(share(event.clientY, box.top, box.height, image.naturalHeight));
}

stage.addEventListener("pointerdown", (event) => stage.setPointerCapture(event.pointerId));
stage.addEventListener("pointermove", (event) => {
  if (stage.hasPointerCapture(event.pointerId)) move(-event.movementX, -event.movementY);
});
addEventListener("resize", () => zoom.open && move(0, 0));
zoom.addEventListener("close", leaveZoom); // by Escape
