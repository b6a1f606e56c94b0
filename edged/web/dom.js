// Making elements without ever parsing HTML.

/** An element with these properties and children; strings become text nodes. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A button that calls `onClick`. */
export function button(label, className, onClick) {
  const made = element("button", { type: "button", className }, label);
  made.addEventListener("click", onClick);
  return made;
}
