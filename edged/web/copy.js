// Copying text, also on a page that came over plain HTTP, where browsers hide the clipboard interface.

import { button, element } from "./dom.js";
import { say } from "./strings.js";

const CONFIRMED_MS = 1600; // long enough to read one word

/** A button that copies what `text()` returns when pressed, and says whether it worked. */
export function copyButton(text) {
  const made = button(say("copy"), "quiet copy", async () => {
    made.textContent = (await copy(text())) ? say("copied") : say("copyFailed");
    setTimeout(() => (made.textContent = say("copy")), CONFIRMED_MS);
  });
  return made;
}

async function copy(text) {
  if (!navigator.clipboard) return copyBySelection(text);
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const focused = document.activeElement;
  const area = element("textarea", { value: text, className: "unseen", readOnly: true });
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  focused?.focus({ preventScroll: true });
  return isCopied;
}
