// The page: what its buttons and keys do. Who owns what is in the modules: `conversation` the turns, `settings` the
// form, `pictures` the pictures, `api` the key.

import { answer } from "./answer.js";
import { takeKey, useKey } from "./api.js";
import * as boxes from "./boxes.js";
import { Conversation, said } from "./conversation.js";
import { button, byId, make } from "./dom.js";
import { offerModels, watchModels } from "./models.js";
import * as pictures from "./pictures.js";
import { draft, keepDraft, keepSettings, settings } from "./settings.js";
import { AnswerView, userView } from "./view.js";

const conversation = new Conversation();
const views = new Map(); // of turns, by their id
let attached = []; // pictures to send
let editing = null; // the turn that is being edited
let running = null; // {stop, done} of the answer that is being written

// Turns

function show() {
  const elements = conversation.turns.map((turn, at) => {
    if (!views.has(turn.id)) views.set(turn.id, viewOf(turn));
    const { element } = views.get(turn.id);
    element.classList.toggle("last", at === conversation.turns.length - 1);
    return element;
  });
  byId("turns").replaceChildren(...elements);
}

function viewOf(turn) {
  if (turn.role === "user") return userView(turn, () => edit(turn));
  return new AnswerView(turn, { retry: () => retry(turn), within: following });
}

/** Run `act`, and stay at the end of the conversation if that is where the reader is. */
function following(act) {
  const page = document.scrollingElement;
  const atEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 80;
  act();
  if (atEnd) page.scrollTop = page.scrollHeight;
}

/** Ask for the answer to the turns there are. */
async function run() {
  const turns = [...conversation.turns];
  const turn = conversation.add({ role: "assistant", parts: [], stats: {}, state: "running" });
  const stopping = new AbortController();
  following(show);
  const view = views.get(turn.id);
  busy(true);
  const work = answer(turn, turns, settings(), stopping.signal, () => {
    conversation.changed();
    view.changed();
  });
  running = { stop: () => stopping.abort(), done: work };
  await work;
  running = null;
  busy(false);
  view.update();
  keepAll();
  say(turn.state === "done" ? "The answer is complete." : turn.state === "stopped" ? "Stopped." : "");
  if (turn.status === 401) askForKey(turn.fault);
  if (turn.state === "done") await place(turn, turns, view);
}

/** Draw what the answer says it found. */
async function place(turn, turns, view) {
  try {
    turn.boxes = await boxes.find(said(turn), turns, turn.model);
  } catch (fault) {
    turn.boxFault = `no boxes are drawn: ${fault.message}`;
  }
  if (!turn.boxes && !turn.boxFault) return;
  keepAll();
  view.update();
}

async function stop() {
  running?.stop();
  await running?.done;
}

async function send() {
  const text = byId("text").value.trim();
  if (!text && !attached.length) return;
  if (running) return;
  if (editing) conversation.cutAt(editing);
  conversation.add({ role: "user", text, pictures: attached, solve: settings().solve });
  attached = [];
  byId("text").value = "";
  endEdit();
  fault("");
  await run();
}

async function retry(turn) {
  await stop();
  conversation.cutAt(turn);
  fault("");
  await run();
}

async function edit(turn) {
  await stop();
  editing = turn;
  attached = [...turn.pictures];
  byId("text").value = turn.text;
  byId("editing").hidden = false;
  showAttached();
  byId("text").focus();
}

function endEdit() {
  editing = null;
  byId("editing").hidden = true;
  showAttached();
}

function cancelEdit() {
  attached = [];
  byId("text").value = "";
  endEdit();
}

async function newChat() {
  await stop();
  const gone = [...attached, ...conversation.turns.flatMap((turn) => turn.pictures ?? [])];
  conversation.clear();
  views.clear();
  cancelEdit();
  fault("");
  show();
  byId("text").focus();
  await pictures.forget(gone).catch(() => {});
}

function keepAll() {
  conversation.save();
  if (!conversation.saved) fault("the conversation is longer than a tab may keep: a reload would lose its end");
}

// Pictures

async function attach(files) {
  for (const file of files) {
    try {
      attached.push(await pictures.keep(file));
    } catch (wrong) {
      fault(wrong.message);
    }
  }
  showAttached();
}

function showAttached() {
  const shown = attached.map((picture) => {
    const image = make("img", { alt: picture.name });
    pictures.urlOf(picture).then((url) => url && (image.src = url));
    const drop = button("×", () => {
      attached = attached.filter((one) => one !== picture);
      showAttached();
    }, { "aria-label": `Remove ${picture.name}` });
    return make("span", { className: "picture" }, image, drop);
  });
  byId("attached").replaceChildren(...shown);
  keepDraft(attached);
}

// What is said beside the conversation

function fault(words) {
  byId("fault").textContent = words;
  byId("fault").hidden = !words;
}

function say(words) {
  byId("status").textContent = words;
}

function busy(is) {
  byId("stop").hidden = !is;
  byId("send").hidden = is;
  if (is) say("");
}

function askForKey(words) {
  fault(`${words}: open the link that \`qwen serve --open\` prints, or give the key here`);
  byId("keyless").hidden = false;
  byId("key").focus();
}

async function connect() {
  byId("keyless").hidden = true;
  fault("");
  try {
    await offerModels();
  } catch (wrong) {
    if (wrong.status === 401) askForKey(wrong.message);
    else fault(wrong.message);
  }
}

// Keys, buttons, drops

byId("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
byId("text").addEventListener("input", () => keepDraft(attached));
byId("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing) return;
  if (running) stop();
  else if (!closePanels(null) && editing) cancelEdit();
});
addEventListener("pointerdown", (event) => closePanels(event.target));

/** Close the panels that `target` is outside of. Returns whether one was open. */
function closePanels(target) {
  const open = [byId("running"), byId("settings")].filter((panel) => panel.open && !panel.contains(target));
  for (const panel of open) panel.open = false;
  return open.length > 0;
}

byId("stop").addEventListener("click", stop);
byId("new").addEventListener("click", newChat);
byId("unedit").addEventListener("click", cancelEdit);
byId("attach").addEventListener("click", () => byId("files").click());
byId("files").addEventListener("change", async () => {
  await attach(byId("files").files);
  byId("files").value = "";
});
byId("usekey").addEventListener("click", () => {
  useKey(byId("key").value);
  byId("key").value = "";
  connect();
});
byId("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  byId("usekey").click();
});

const filesOf = (transfer) => [...(transfer?.files ?? [])];
const bringsFiles = (event) => event.dataTransfer?.types.includes("Files"); // and no words for the message
addEventListener("dragover", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  if (!bringsFiles(event)) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  attach(filesOf(event.dataTransfer));
});
addEventListener("paste", (event) => {
  const files = filesOf(event.clipboardData);
  if (!files.length) return;
  event.preventDefault();
  attach(files);
});
addEventListener("hashchange", () => takeKey() && connect());

takeKey();
keepSettings();
attached = draft().pictures;
byId("text").value = draft().text;
showAttached();
watchModels((wrong) => fault(wrong.message));
show();
scrollTo(0, document.body.scrollHeight);
pictures.forgetOld().catch(() => {});
connect();
byId("text").focus();
