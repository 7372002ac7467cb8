// What stands in the form: kept in this tab, and the settings given to each request.

import { byId } from "./dom.js";

const PLACE = "qwen.settings";
const DRAFT = "qwen.draft";
const FIELDS = ["model", "thinking", "system", "temperature", "max_tokens", "samples"];

const number = (id) => {
  const { valueAsNumber } = byId(id);
  return Number.isNaN(valueAsNumber) ? null : valueAsNumber;
};

/** Return the settings as requests take them; null is "not given". */
export function settings() {
  return {
    model: byId("model").value,
    thinking: byId("thinking").value,
    system: byId("system").value,
    temperature: number("temperature"),
    max_tokens: number("max_tokens"),
    samples: number("samples"),
    solve: byId("math").getAttribute("aria-pressed") === "true",
  };
}

/** Fill the form with what was set before, and keep what is set from now on. */
export function keepSettings() {
  const kept = JSON.parse(sessionStorage.getItem(PLACE) ?? "{}");
  for (const id of FIELDS) if (id in kept && id !== "model") byId(id).value = kept[id];
  byId("math").setAttribute("aria-pressed", String(kept.solve ?? false));
  byId("math").addEventListener("click", () => {
    byId("math").setAttribute("aria-pressed", String(!settings().solve));
    keep();
  });
  for (const id of FIELDS) byId(id).addEventListener("change", keep);
}

/** Return the model that was chosen before, if one was. */
export const chosenModel = () => JSON.parse(sessionStorage.getItem(PLACE) ?? "{}").model ?? "";

function keep() {
  const fields = Object.fromEntries(FIELDS.map((id) => [id, byId(id).value]));
  sessionStorage.setItem(PLACE, JSON.stringify({ ...fields, solve: settings().solve }));
}

/** Return the message that is being written, as it was kept: {text, pictures}. */
export const draft = () => JSON.parse(sessionStorage.getItem(DRAFT) ?? '{"text": "", "pictures": []}');

export function keepDraft(pictures) {
  sessionStorage.setItem(DRAFT, JSON.stringify({ text: byId("text").value, pictures }));
}
