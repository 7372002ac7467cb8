// Markdown of a model as elements that can do nothing: no HTML of its own, no pictures from anywhere, and what is
// left goes through DOMPurify. While it is written only the blocks that changed are made anew.

import { copyButton, make } from "./dom.js";
import { formulas, typeset } from "./formulas.js";

const ALLOWED = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
    "em", "strong", "s", "a", "span", "table", "thead", "tbody", "tr", "th", "td",
  ],
  ALLOWED_ATTR: ["href", "class", "start", "data-align"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ADD_URI_SAFE_ATTR: ["start", "data-align"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
};

const parser = globalThis.markdownit({ html: false, linkify: true, breaks: true });
// Link definitions and underlined headings are text, as on a terminal: models do not mean them.
parser.disable(["reference", "lheading"]);
parser.use(formulas);
parser.renderer.rules.image = (tokens, at) => {
  const { content, attrs } = tokens[at];
  const source = new Map(attrs).get("src") ?? "";
  const words = parser.utils.escapeHtml(`[picture: ${content || source}]`);
  return `<a href="${parser.utils.escapeHtml(source)}">${words}</a>`;
};
for (const cell of ["th_open", "td_open"]) {
  parser.renderer.rules[cell] = (tokens, at, options, env, self) => {
    const side = /text-align:(\w+)/.exec(tokens[at].attrGet("style") ?? "");
    tokens[at].attrs = side ? [["data-align", side[1]]] : null; // inline styles are not let in
    return self.renderToken(tokens, at, options);
  };
}

/** Return the elements that HTML of the renderer stands for: none that could do anything, whatever it says. */
export function elements(html) {
  const fragment = globalThis.DOMPurify.sanitize(html, ALLOWED);
  for (const link of fragment.querySelectorAll("a")) {
    if (!link.hasAttribute("href")) continue;
    link.target = "_blank";
    link.rel = "noopener noreferrer";
    link.title = link.href; // where it really leads
  }
  for (const code of fragment.querySelectorAll("pre > code")) withCopy(code);
  for (const table of fragment.querySelectorAll("table")) {
    const around = make("div", { className: "wide", tabIndex: 0, role: "region", "aria-label": "Table" });
    table.replaceWith(around);
    around.append(table);
  }
  typeset(fragment);
  return fragment;
}

function withCopy(code) {
  const language = /language-([\w+#.-]+)/.exec(code.className)?.[1] ?? "";
  const copy = copyButton(code, () => code.textContent);
  const pre = code.parentElement;
  const figure = make("figure", { className: "code" });
  pre.replaceWith(figure);
  pre.tabIndex = 0; // so that the keys scroll it
  figure.append(make("figcaption", {}, make("span", {}, language), copy), pre);
}

/** The Markdown in `element`, which may grow. */
export class Markdown {
  constructor(element) {
    this.element = element;
    this.shown = []; // {html, nodes} of each block
  }

  /** Show `text`. */
  update(text) {
    const env = {};
    const blocks = grouped(parser.parse(text, env)).map((tokens) =>
      parser.renderer.render(tokens, parser.options, env),
    );
    let same = 0;
    while (same < blocks.length && this.shown[same]?.html === blocks[same]) same += 1;
    for (const { nodes } of this.shown.splice(same)) for (const node of nodes) node.remove();
    for (const html of blocks.slice(same)) {
      const fragment = elements(html);
      this.shown.push({ html, nodes: [...fragment.childNodes] });
      this.element.append(fragment);
    }
  }
}

/** Return the tokens of each top-level block. */
function grouped(tokens) {
  const blocks = [];
  let depth = 0;
  let begun = 0;
  tokens.forEach((token, at) => {
    depth += token.nesting;
    if (depth === 0) {
      blocks.push(tokens.slice(begun, at + 1));
      begun = at + 1;
    }
  });
  return blocks;
}
