// What an owner lets everybody do: a switch each.

import { choose, readChoices } from "./access.js";
import { element } from "./dom.js";
import { attempt } from "./form.js";
import { say } from "./strings.js";

export class Choices {
  #place = document.getElementById("choices");
  #onChange;

  /** `onChange()` is called when the owner has chosen. */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  async refresh() {
    const choices = await readChoices();
    const known = Object.keys(say("choices")).filter((name) => name in choices);
    this.#place.replaceChildren(...known.map((name) => this.#row(name, choices[name])));
  }

  #row(name, { value, locked }) {
    const [title, about] = say("choices")[name];
    const box = element("input", { type: "checkbox", checked: value, disabled: locked });
    box.setAttribute("role", "switch");
    box.setAttribute("aria-describedby", `${name}-about`);
    box.addEventListener("change", () =>
      attempt(row, async () => {
        const wanted = box.checked;
        box.checked = !wanted; // until the device has said so
        box.checked = (await choose(name, wanted))[name].value;
        await this.#onChange();
      }));
    const words = locked ? `${about} ${say("locked")}` : about;
    const row = element("div", { className: "row" },
      element("label", { className: "check" }, box, title),
      element("p", { className: "hint", id: `${name}-about` }, words));
    return row;
  }
}
