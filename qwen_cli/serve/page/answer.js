// Asks the server for the next turn and fills it as it comes: an answer of the chat, or a solution of `/v1/math`.

import { ApiError, events } from "./api.js";
import { append, said } from "./conversation.js";
import { urlOf } from "./pictures.js";

// A reload breaks requests off before the page is told of anything else.
let leaving = false;
addEventListener("beforeunload", () => {
  leaving = true;
  setTimeout(() => (leaving = false), 2000); // it stayed
});

/**
 * Fill `turn` with the answer to `turns`, which end with the user's. `settings` are those of the form; `changed`
 * is called whenever there is more of it. Aborting `signal` ends it on the server too.
 */
export async function answer(turn, turns, settings, signal, changed) {
  const began = performance.now();
  const begun = () => {
    turn.stats.first ??= (performance.now() - began) / 1000;
    turn.stats.pieces = (turn.stats.pieces ?? 0) + 1;
    turn.stats.seconds = (performance.now() - began) / 1000;
  };
  try {
    const asked = turns.at(-1);
    if (asked.solve) await solve(turn, asked, settings, signal, begun, changed);
    else await chat(turn, turns, settings, signal, begun, changed);
    turn.state = "done";
  } catch (fault) {
    if (signal.aborted || leaving) turn.state = "stopped";
    else Object.assign(turn, { state: "failed", fault: fault.message, status: fault.status });
  }
  changed();
}

function common(settings) {
  const { model, thinking, temperature, max_tokens: limit } = settings;
  return {
    stream: true,
    ...(model && { model }),
    ...(thinking && { reasoning_effort: thinking }),
    ...(temperature !== null && { temperature }),
    ...(limit !== null && { max_tokens: limit }),
  };
}

async function chat(turn, turns, settings, signal, begun, changed) {
  const messages = await Promise.all(turns.map(message));
  if (settings.system.trim()) messages.unshift({ role: "system", content: settings.system });
  let ended = false;
  for await (const { data } of events("/v1/chat/completions", { messages, ...common(settings) }, signal)) {
    if (data === "[DONE]") {
      ended = true;
      break;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(chunk.error.message);
    turn.model = chunk.model;
    const [choice] = chunk.choices;
    const { reasoning_content: thought, content, tool_calls: calls } = choice?.delta ?? {};
    if (thought || content) begun();
    if (thought) append(turn, "thinking", thought);
    if (content) append(turn, "text", content);
    for (const call of calls ?? []) {
      append(turn, "remark", `It calls ${call.function.name}(${call.function.arguments}); this page has no tools.`);
    }
    if (choice?.finish_reason) turn.cut = choice.finish_reason === "length";
    if (chunk.timings) {
      turn.stats.tokens = chunk.timings.predicted_n;
      turn.stats.perSecond = chunk.timings.predicted_per_second;
    }
    changed();
  }
  if (!ended) throw new ApiError("the connection broke off before the answer was complete");
}

/** Return `turn` as a message of OpenAI's API. */
async function message(turn) {
  if (turn.role === "assistant") {
    const thought = turn.parts.filter((part) => part.kind === "thinking").map((part) => part.text).join("");
    return { role: "assistant", content: said(turn), ...(thought && { reasoning_content: thought }) };
  }
  if (!turn.pictures.length) return { role: "user", content: turn.text };
  const urls = await Promise.all(turn.pictures.map(urlOf));
  const gone = turn.pictures.find((_, at) => !urls[at]);
  if (gone) throw new Error(`the picture ${gone.name} is gone: edit the message and add it again`);
  const pictures = urls.map((url) => ({ type: "image_url", image_url: { url } }));
  return { role: "user", content: [...pictures, { type: "text", text: turn.text }] };
}

async function solve(turn, asked, settings, signal, begun, changed) {
  if (asked.pictures.length) throw new Error("programs solve problems in words: leave the picture out, or ask in the chat");
  const body = {
    problem: asked.text,
    ...common(settings),
    ...(settings.samples !== null && { samples: settings.samples }),
  };
  for await (const { name, data } of events("/v1/math", body, signal)) {
    if (data === "[DONE]") break;
    const event = JSON.parse(data);
    if (name === "error") throw new ApiError(event.error.message);
    if (name === "piece") {
      begun();
      append(turn, event.kind === "thinking" ? "thinking" : "text", event.text);
    } else if (name === "run") {
      turn.parts.push({ kind: "run", ...event });
    } else if (name === "restart") {
      turn.parts = [{ kind: "remark", text: `${event.why}: reasoning in words alone` }];
    } else if (name === "vote") {
      turn.parts = [{ kind: "remark", text: votes(event) }];
    } else if (name === "answer") {
      conclude(turn, event);
    }
    changed();
  }
  if (!turn.result) throw new ApiError("the connection broke off before the solution was complete");
}

function votes({ done, wanted, answers }) {
  const counted = answers.map((one) => `${one.answer ?? "no answer"} (${one.votes})`).join(", ");
  return `${done} of ${wanted} solutions: ${counted}`;
}

function conclude(turn, { answer: value, check, how, model, solution, samples, usage }) {
  turn.model = model;
  turn.result = { answer: value, check, how };
  if (samples > 1) append(turn, "text", solution); // written at once: shown is the one that was chosen
  turn.stats.tokens = usage.generated_tokens;
  turn.stats.perSecond = usage.generated_tokens / Math.max(usage.decode_seconds, 1e-3);
}
