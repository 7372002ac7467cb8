// A turn of the conversation as elements: made once, filled as it grows.

import { figure } from "./boxes.js";
import { said } from "./conversation.js";
import { button, copyButton, make, reserve } from "./dom.js";
import { Markdown } from "./markdown.js";
import { urlOf } from "./pictures.js";

const REST = 4; // times as long as showing it took nothing is shown

/** Return the view of a turn of the user's: its words and pictures. `edit` is what its button does. */
export function userView(turn, edit) {
  const pictures = turn.pictures.map((picture) => {
    const image = reserve(make("img", { alt: picture.name }), picture, "16rem");
    urlOf(picture).then((url) => (url ? (image.src = url) : (image.alt = `${picture.name} is gone`)));
    return image;
  });
  const element = make(
    "article",
    { className: "turn user", "aria-label": "You" },
    pictures.length ? make("div", { className: "pictures" }, ...pictures) : null,
    make("p", { className: "words" }, turn.text),
    make("footer", {}, turn.solve ? "solved with programs" : null, button("Edit", edit)),
  );
  return { element };
}

/**
 * The view of an assistant's turn, which may still be written. `retry` is what its button does; changes are made
 * inside a call of `within`.
 */
export class AnswerView {
  constructor(turn, { retry, within }) {
    this.turn = turn;
    this.retry = retry;
    this.within = within;
    this.parts = []; // {kind, show(part)} for each part of the turn
    this.body = make("div", { className: "parts" });
    this.foot = make("footer");
    this.element = make("article", { className: "turn assistant", "aria-label": "Answer" }, this.body, this.foot);
    this.waiting = 0;
    this.took = 0; // milliseconds to show it
    this.update();
  }

  /** Show it soon: pieces come faster than the screen changes, and keys are to be heard between long answers. */
  changed() {
    this.waiting ||= setTimeout(() => requestAnimationFrame(() => this.update()), REST * this.took);
  }

  update() {
    const began = performance.now();
    this.waiting = 0;
    this.within(() => this.fill());
    this.took = performance.now() - began;
  }

  fill() {
    const { parts, state } = this.turn;
    const fits = this.parts.length <= parts.length && this.parts.every((one, at) => one.kind === parts[at].kind);
    if (!fits) {
      this.parts = [];
      this.body.replaceChildren();
    }
    parts.forEach((part, at) => {
      if (!this.parts[at]) {
        this.parts[at] = { kind: part.kind, ...VIEWS[part.kind]() };
        this.body.append(this.parts[at].element);
      }
      this.parts[at].show(part, { writing: state === "running" && at === parts.length - 1 });
    });
    this.element.setAttribute("aria-busy", String(state === "running"));
    this.conclude();
  }

  conclude() {
    const { state, result, boxes, fault, boxFault } = this.turn;
    const shown = [];
    if (result) {
      const value = make("span", { className: "value" });
      new Markdown(value).update(result.answer === null ? "no answer" : `$${result.answer}$`);
      shown.push(make("p", { className: `result ${result.how}` }, value, ` ${result.check}`));
    }
    if (boxes) shown.push((this.figure ??= figure(boxes)));
    if (boxFault) shown.push(make("p", { className: "fault" }, boxFault));
    if (fault) shown.push(make("p", { className: "fault", role: "alert" }, fault));
    shown.push(make("span", { className: "stats" }, stats(this.turn)));
    if (state !== "running") {
      shown.push(copyButton(this.body, () => said(this.turn)), button("Retry", this.retry, { className: "retry" }));
    }
    this.foot.replaceChildren(...shown);
  }
}

const VIEWS = {
  text: () => {
    const element = make("div", { className: "text" });
    const markdown = new Markdown(element);
    return { element, show: (part) => markdown.update(part.text) };
  },
  thinking: () => {
    const words = make("div", { className: "text" });
    const summary = make("summary");
    const element = make("details", { className: "thinking" }, summary, words);
    const markdown = new Markdown(words);
    let text = "";
    const fill = () => element.open && markdown.update(text);
    element.addEventListener("toggle", fill);
    return {
      element,
      show: (part, { writing }) => {
        text = part.text;
        summary.textContent = writing ? "Thinking …" : "Thought";
        fill();
      },
    };
  },
  run: () => {
    const output = make("pre", { tabIndex: 0 });
    const caption = make("figcaption");
    const element = make("figure", { className: "run" }, caption, output);
    return {
      element,
      show: (part) => {
        caption.textContent = part.status === "ok" ? "The program printed" : `The program ended: ${part.status}`;
        element.classList.toggle("failed", part.status !== "ok");
        output.textContent = part.output;
      },
    };
  },
  remark: () => {
    const element = make("p", { className: "remark" });
    return { element, show: (part) => (element.textContent = part.text) };
  },
};

/** Return what there is to say of how it came. */
export function stats({ state, model, cut, stats: counted }) {
  const words = [];
  if (state === "running") {
    const { pieces = 0, first = 0, seconds = 0 } = counted;
    if (pieces > 1 && seconds > first) words.push(`≈ ${((pieces - 1) / (seconds - first)).toFixed(1)} tokens/s`);
    return words.join(", ");
  }
  if (model) words.push(model);
  if (counted.tokens) words.push(`${counted.tokens.toLocaleString("en")} tokens`);
  if (counted.perSecond) words.push(`${counted.perSecond.toFixed(1)} tokens/s`);
  if (counted.first !== undefined) words.push(`first after ${counted.first.toFixed(1)} s`);
  if (cut) words.push("cut: the limit of tokens or the context was reached");
  if (state === "stopped") words.push("stopped");
  return words.join(", ");
}
