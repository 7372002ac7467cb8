// LaTeX in Markdown: a plug-in for markdown-it by the rules that `qwen` has on a terminal (qwen_cli/ui/latex.py),
// and KaTeX for what it found.

const LONGEST = 2000; // characters after which what was opened is taken for something else
// Scripts without spaces between words have no letters that a dollar could stick to.
const UNSPACED = "\\u0e00-\\u0eff\\u3040-\\u30ff\\u3400-\\u9fff\\uac00-\\ud7af\\uf900-\\ufaff";
// Pandoc's rule for single dollars: no space right inside them, no letter or digit beside them ("$5 and $10").
const LETTER = `(?:(?![${UNSPACED}])[\\p{L}\\p{N}_])`;
const INLINE = new RegExp(
  `(?<!${LETTER})(?<!\\$)\\$(?=[^\\s$])((?:[^$\\\\\\n]|\\\\[^\\n]){1,1000}?)(?<!\\s)` +
    `\\$(?!\\$)(?:(?!${LETTER})|(?=(?:th|st|nd|rd)\\b))`,
  "uy",
);
// Between dollars: words, as in "$5 for tea, 10$", and what shells and scripts name.
const PROSE = new RegExp(
  `[a-z]{3,}|[${UNSPACED}，。；]|(?<!\\S)(?:or|is|to|at|in|of|by|if)(?!\\S)|[A-Z_]{2}[\\p{L}\\p{N}_]*_|["#;]`,
  "u",
);
const PATTERN = /^[a-z]{3,}(?:\\\|[a-z]+)*$/; // grep's groups: \(foo\|bar\)
const ENVIRONMENT = /\\begin\{((?:align|aligned|gather|gathered|equation|multline|split)\*?)\}/y;
const DISPLAY = /^(?:\$\$|\\\[|\\begin\{(?:align|aligned|gather|gathered|equation|multline|split)\*?\})/;

const isProse = (inside) => !inside.includes("\\") && PROSE.test(inside);

/** Return the formula that begins at `start` of `source`: {tex, end, display}; null where there is none. */
export function formulaAt(source, start) {
  if (source[start] !== "$" && source[start] !== "\\") return null;
  const matched = (pattern) => {
    pattern.lastIndex = start;
    return pattern.exec(source);
  };
  const upTo = (opening, closing) => {
    const begin = start + opening.length;
    const near = source.slice(begin, start + LONGEST);
    const stop = near.indexOf(closing);
    return stop < 0 ? null : { inside: near.slice(0, stop), end: begin + stop + closing.length };
  };
  const single = matched(INLINE);
  if (single) {
    const tex = /^`[^`]+`$/.test(single[1]) ? single[1].slice(1, -1) : single[1]; // as GitHub has it
    return isProse(tex) ? null : { tex, end: start + single[0].length, display: false };
  }
  const environment = matched(ENVIRONMENT);
  if (environment) {
    const found = upTo(environment[0], `\\end{${environment[1]}}`);
    return found && { tex: source.slice(start, found.end), end: found.end, display: true };
  }
  for (const [opening, closing, display] of [["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false]]) {
    if (!source.startsWith(opening, start)) continue;
    const found = upTo(opening, closing);
    if (!found || !found.inside.trim()) return null;
    if (opening === "$$" && isProse(found.inside)) return null;
    if (opening === "\\(" && PATTERN.test(found.inside)) return null;
    if (opening === "\\[" && source[found.end] === "(" && isProse(found.inside)) return null;
    return { tex: found.inside, end: found.end, display };
  }
  if (source.startsWith("\\boxed{", start)) {
    const end = closed(source, start + "\\boxed".length);
    return end && { tex: source.slice(start, end), end, display: false };
  }
  return null;
}

/** Return where the brace at `start` has been closed; 0 where it is not. */
function closed(source, start) {
  let depth = 0;
  for (let at = start; at < Math.min(source.length, start + LONGEST); at += 1) {
    if (source[at - 1] === "\\") continue;
    if (source[at] === "{") depth += 1;
    if (source[at] === "}" && (depth -= 1) === 0) return at + 1;
  }
  return 0;
}

/** Teach a markdown-it parser formulas. They become elements of the class `formula` with their source. */
export function formulas(parser) {
  const token = (state, tex, display) => {
    const made = state.push("formula", "span", 0);
    made.content = tex;
    made.meta = { display };
  };
  parser.inline.ruler.before("escape", "formula", (state, silent) => {
    const found = formulaAt(state.src.slice(0, state.posMax), state.pos);
    if (!found) return false;
    if (!silent) token(state, found.tex, found.display);
    state.pos = found.end;
    return true;
  });
  // A display formula of several lines, whatever these begin with: "- b" is no list there.
  parser.block.ruler.before(
    "fence",
    "formula",
    (state, first, end, silent) => {
      const from = state.bMarks[first] + state.tShift[first];
      if (state.sCount[first] - state.blkIndent >= 4 || !DISPLAY.test(state.src.slice(from, from + 40))) return false;
      const found = formulaAt(state.src.slice(0, state.eMarks[end - 1]), from);
      if (!found?.display) return false;
      let last = first;
      while (state.eMarks[last] < found.end) last += 1;
      if (last === first || state.src.slice(found.end, state.eMarks[last]).trim()) return false;
      if (silent) return true;
      const tex = state.getLines(first, last + 1, state.blkIndent, false).trim();
      state.line = last + 1;
      token(state, formulaAt(tex, 0)?.tex ?? tex, true);
      return true;
    },
    { alt: ["paragraph", "blockquote", "list"] },
  );
  parser.renderer.rules.formula = (tokens, at) => {
    const { content, meta } = tokens[at];
    return `<span class="formula${meta.display ? " display" : ""}">${parser.utils.escapeHtml(content)}</span>`;
  };
}

const OPTIONS = {
  throwOnError: true, // its own way to show an error needs an inline style
  strict: false,
  trust: false,
  maxExpand: 1000,
  maxSize: 20,
};

/** Put the formulas of `root` in type. What KaTeX does not know stays as its source. */
export function typeset(root) {
  for (const element of root.querySelectorAll(".formula")) {
    try {
      element.replaceChildren(typesetOne(element.textContent, element.classList.contains("display")));
    } catch {
      element.classList.add("source");
    }
  }
}

/**
 * Return the element of one formula. The page's rules let no `style` attribute in, and scripts set styles: the few
 * that KaTeX writes as attributes (the arrow of \vec) wait under another name until the elements are there.
 */
function typesetOne(tex, displayMode) {
  const tree = globalThis.katex.__renderToDomTree(tex, { ...OPTIONS, displayMode });
  const rename = (node) => {
    if (node.attributes?.style) {
      node.attributes["data-style"] = node.attributes.style;
      delete node.attributes.style;
    }
    for (const child of node.children ?? []) rename(child);
  };
  rename(tree);
  const made = tree.toNode();
  for (const styled of made.querySelectorAll("[data-style]")) styled.style.cssText = styled.dataset.style;
  return made;
}
