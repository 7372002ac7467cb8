// The models of the server: which can be chosen, which are loaded, and what they are doing.

import { ask } from "./api.js";
import { byId, make } from "./dom.js";
import { chosenModel } from "./settings.js";

const EACH = 3000; // milliseconds between two looks, while somebody looks

/** Fill the choice of models. Throws `ApiError`. */
export async function offerModels() {
  const { data } = await ask("/v1/models");
  const chosen = byId("model").value || chosenModel();
  const options = data.map(({ id, loaded }) =>
    make("option", { value: id, selected: id === chosen }, loaded ? id : `${id} (not loaded)`),
  );
  byId("model").replaceChildren(...options);
}

/** Show what the models are doing for as long as the panel is open. */
export function watchModels(failed) {
  const panel = byId("running");
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    if (!panel.open) return;
    if (!document.hidden) {
      try {
        const [{ data }, { models }] = await Promise.all([ask("/v1/models"), ask("/api/ps")]);
        show(data, new Map(models.map((one) => [one.name, one])));
      } catch (fault) {
        failed(fault);
      }
    }
    timer = setTimeout(look, EACH);
  };
  panel.addEventListener("toggle", look);
}

function show(models, loaded) {
  const lines = models.map(({ id, loaded: is, max_model_len: context, running, waiting }) => {
    const words = is
      ? [context && `${context.toLocaleString("en")} tokens`, `${running} running, ${waiting} waiting`]
      : ["not loaded"];
    const size = loaded.get(id)?.size;
    if (size) words.unshift(`${(size / 1e9).toFixed(1)} GB`);
    return make("li", { className: is ? "loaded" : "" }, make("b", {}, id), ` ${words.filter(Boolean).join(", ")}`);
  });
  byId("models").replaceChildren(make("ul", {}, ...lines));
}
