// Where the things are that an answer names: the server reads the answer, since each generation of Qwen-VL counts
// in its own way, and they are drawn over the picture.

import { ask } from "./api.js";
import { drawn, make, reserve } from "./dom.js";
import { urlOf } from "./pictures.js";

// What answers look like that name places: JSON with boxes or points, tags, pairs of corners, lines of four numbers
// before a name.
const PLACES = new RegExp(
  [
    "(?:bbox|box)_?2d|point_2d",
    '"(?:bbox|box|points?)"',
    "<points?\\b|<\\|box_start\\|>",
    "\\(\\d+, ?\\d+\\),? ?\\(\\d+, ?\\d+\\)",
    "^ *\\d+(?:, ?\\d+){3} +\\p{L}",
  ].join("|"),
  "mu",
);

export const namesPlaces = (answer) => PLACES.test(answer);

/**
 * Return {picture, found: [{label, box | point}]} for an `answer` to `turns`, in pixels of the picture; null where
 * it names no places, or several pictures were sent with the question: it does not say which it means.
 */
export async function find(answer, turns, model) {
  if (!namesPlaces(answer)) return null;
  const shown = turns.filter((turn) => turn.role === "user" && turn.pictures.length).at(-1);
  if (shown?.pictures.length !== 1) return null;
  const pictures = turns.flatMap((turn) => turn.pictures ?? []);
  const [picture] = shown.pictures;
  const { data } = await ask("/v1/boxes", {
    body: {
      model,
      answer,
      pictures: pictures.map((one) => [one.width, one.height]),
      picture: pictures.indexOf(picture),
      question: turns.map((turn) => turn.text ?? "").join(""),
    },
  });
  return data.length ? { picture, found: data } : null;
}

/** Return the picture with its boxes, as a figure. */
export function figure({ picture, found }) {
  const image = make("img", { alt: `${picture.name}, with what was found in it` });
  urlOf(picture).then((url) => (url ? (image.src = url) : (image.alt = `${picture.name} is gone`)));
  const labels = [...new Set(found.map((one) => one.label))];
  const scale = Math.max(picture.width, picture.height) / 100; // line widths and letters, in its pixels
  const over = drawn(
    "svg",
    { viewBox: `0 0 ${picture.width} ${picture.height}`, role: "img", "aria-label": spoken(found) },
    ...found.map((one) => mark(one, labels.indexOf(one.label) % 6, scale, picture)),
  );
  const caption = labels.map((label) => {
    const number = found.filter((one) => one.label === label).length;
    return `${label || "unnamed"}${number > 1 ? ` × ${number}` : ""}`;
  });
  return make(
    "figure",
    { className: "found" },
    reserve(make("div", { className: "stage" }, image, over), picture, "60vh"),
    make("figcaption", {}, caption.join(", ")),
  );
}

function mark({ label, box, point }, color, scale, picture) {
  const [x, y, right, bottom] = box ?? [...point, ...point];
  const shape = box
    ? drawn("rect", { x, y, width: right - x, height: bottom - y, "stroke-width": 0.5 * scale, rx: 0.4 * scale })
    : drawn("circle", { cx: x, cy: y, r: 1.2 * scale, "stroke-width": 0.4 * scale, class: "point" });
  const size = 2.6 * scale;
  const above = y > size * 1.4;
  const text = drawn(
    "text",
    {
      x: Math.min(x + 0.3 * scale, picture.width - size * 0.6 * label.length),
      y: above ? y - 0.6 * scale : bottom + size,
      "font-size": size,
      "stroke-width": size / 5,
    },
    label,
  );
  return drawn("g", { class: `color${color}` }, shape, text);
}

function spoken(found) {
  return found.map(({ label, box, point }) => `${label} at ${(box ?? point).join(", ")}`).join("; ");
}
