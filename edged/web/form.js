// What the pages that ask for something have in common: trying, saying what went wrong, asking twice, lists that change.

import { element } from "./dom.js";
import { say, sayError } from "./strings.js";
import { ChatError } from "./wire.js";

/**
 * Do `work` once, however often it is asked for. What goes wrong is said at the end of `place`, where `own` has words
 * for some codes that fit better than those for everywhere. Resolves to whether it worked.
 */
export async function attempt(place, work, own = {}) {
  if (place.ariaBusy === "true") return false;
  place.ariaBusy = "true";
  place.querySelector(":scope > .error")?.remove();
  try {
    await work();
    return true;
  } catch (problem) {
    if (!(problem instanceof ChatError)) throw problem;
    place.append(notice(problem, own));
    return false;
  } finally {
    place.ariaBusy = "false";
  }
}

/** What went wrong, for a person. */
export function notice(error, own = {}) {
  const found = own[error.code] ?? say("refusals")[error.code];
  const known = typeof found === "function" ? found(Math.ceil(error.retryAfterSeconds)) : found;
  const made = element("div", { className: "error", role: "alert" }, element("p", {}, known ?? sayError(error).text));
  if (!known && error.message) made.append(element("p", { className: "detail" }, error.message));
  if (error.isLocked) made.append(element("p", {}, element("a", { href: "claim" }, say("signIn"))));
  return made;
}

/** A button for what cannot be taken back: pressed once it asks `question`, pressed again it does it. */
export function confirmedButton(label, question, onConfirmed) {
  const made = element("button", { type: "button", className: "action", ariaLive: "polite" }, label);
  const ask = (isAsking) => {
    made.classList.toggle("sure", isAsking);
    made.textContent = isAsking ? question : label;
  };
  made.addEventListener("click", () => {
    const isSure = made.classList.contains("sure");
    ask(!isSure);
    if (isSure) onConfirmed();
  });
  made.addEventListener("blur", () => ask(false));
  return made;
}

/** A label with the control that it names. */
export function field(label, control) {
  return element("label", { className: "field" }, element("span", {}, label), control);
}

/** A list to choose from: pairs of a value and its words. */
export function select(choices, chosen) {
  const made = element("select", {}, ...choices.map(([value, words]) => element("option", { value }, words)));
  made.value = chosen;
  return made;
}

/** Show `rows` in `list`, or `none` where there are none. Who was in the list with the keyboard stays there. */
export function showRows(list, rows, none) {
  const hadFocus = list.contains(document.activeElement);
  list.replaceChildren(...(rows.length ? rows : [element("li", { className: "none" }, none)]));
  if (hadFocus) list.focus();
}
