// The turns of the chat, and their copy in this tab's session storage: a reload loses nothing, and what was said
// here is in no other tab and on no disk of the server.

const PLACE = "qwen.turns";
const EACH = 500; // milliseconds between two copies while an answer is written

/**
 * A turn is {id, role: "user", text, pictures: [{id, name, width, height}], solve} or
 * {id, role: "assistant", parts, state, model, stats, fault, result, boxes}.
 * Parts are {kind: "text" | "thinking" | "remark", text} and {kind: "run", code, output, status}.
 * `state` is "running", "done", "stopped" or "failed".
 */
export class Conversation {
  constructor() {
    this.turns = JSON.parse(sessionStorage.getItem(PLACE) ?? "[]");
    for (const turn of this.turns) {
      if (turn.state === "running") turn.state = "stopped"; // by the reload
    }
    this.saved = true; // whether all of it is kept
    this.timer = 0;
    addEventListener("pagehide", () => this.save());
  }

  get last() {
    return this.turns.at(-1);
  }

  add(turn) {
    const added = { id: crypto.randomUUID(), ...turn };
    this.turns.push(added);
    this.save();
    return added;
  }

  /** Drop `turn` and all after it. */
  cutAt(turn) {
    this.turns.splice(this.turns.indexOf(turn));
    this.save();
  }

  clear() {
    this.turns = [];
    this.save();
  }

  /** Keep it soon: something was added to a turn. */
  changed() {
    this.timer ||= setTimeout(() => this.save(), EACH);
  }

  save() {
    clearTimeout(this.timer);
    this.timer = 0;
    try {
      sessionStorage.setItem(PLACE, JSON.stringify(this.turns));
      this.saved = true;
    } catch {
      this.saved = false; // more than a tab may keep
    }
  }
}

/** Add `text` to the last part of `turn` if it is of that kind, else as a new one. */
export function append(turn, kind, text) {
  const last = turn.parts.at(-1);
  if (last?.kind === kind && kind !== "run") last.text += text;
  else turn.parts.push({ kind, text });
}

/** Return all that an assistant's turn says, without what it thought. */
export function said(turn) {
  return turn.parts
    .map((part) => {
      if (part.kind === "text") return part.text;
      return part.kind === "run" ? `\n\`\`\`output\n${part.output}\n\`\`\`\n` : "";
    })
    .join("");
}
