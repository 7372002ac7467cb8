// Requests to the server that this page is from, with the key of the link that `qwen serve --open` prints.

const KEY = "qwen.key";

/** A request that the server refused or broke off; `message` is what it says. */
export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Take the key out of the address: it stays in this tab, and in no history or log. */
export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given === null) return false;
  useKey(given);
  history.replaceState(null, "", location.pathname);
  return true;
}

export function useKey(key) {
  sessionStorage.setItem(KEY, key.trim());
}

async function request(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (fault) {
    if (signal?.aborted) throw fault;
    throw new ApiError("the server does not answer: does `qwen serve` still run?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new ApiError(said?.error?.message ?? `the server answered with ${answer.status}`, answer.status);
}

/** Ask for `path` and return the JSON of the answer; with a `body` it is sent. */
export async function ask(path, options) {
  return (await request(path, options)).json();
}

/** Send `body` to `path` and yield the server-sent events of the answer: {name, data}, data as it was sent. */
export async function* events(path, body, signal) {
  const answer = await request(path, { body, signal });
  let rest = "";
  try {
    for await (const text of chunks(answer.body)) {
      const parts = (rest + text).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        const field = (name) =>
          lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
        const data = field("data").join("\n");
        if (data) yield { name: field("event")[0] ?? "message", data };
      }
    }
  } catch (fault) {
    if (signal?.aborted) throw fault;
    throw new ApiError("the connection broke off before the answer was complete");
  }
}

async function* chunks(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
