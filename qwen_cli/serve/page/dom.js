// Elements in one call, and the ones of index.html by their id.

export const byId = (id) => document.getElementById(id);

/** Return a new element; `set` are its properties, `children` elements and texts. */
export function make(tag, set = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(set)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Return a new element of SVG with these attributes. */
export function drawn(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Return a button that is labelled `label` and does `act`. */
export const button = (label, act, set = {}) =>
  make("button", { type: "button", onclick: act, ...set }, label);

/** Return a button that copies `text()`; where the browser does not allow that, `element` is selected instead. */
export function copyButton(element, text) {
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      getSelection().selectAllChildren(element); // ready for Ctrl-C
      return;
    }
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  return copy;
}

/** Give `element` the room of a picture before that is there, at most `high` (a length) high. */
export function reserve(element, { width, height }, high) {
  element.style.aspectRatio = `${width} / ${height}`;
  element.style.width = `min(100%, ${width}px, calc(${high} * ${width / height}))`;
  return element;
}
