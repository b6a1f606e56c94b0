// Who asks to be let in: a number that an owner compares, and the answer.

import { answerKnock, listKnocks } from "./access.js";
import { button, element } from "./dom.js";
import { attempt, field, showRows } from "./form.js";
import { say } from "./strings.js";

export class Knocks {
  #list = document.getElementById("knocks");
  #rows = new Map(); // by number: a row that is there already stays, since somebody may be writing in it

  async refresh() {
    const knocks = await listKnocks();
    const rows = new Map(knocks.map((knock) => [knock.number, this.#rows.get(knock.number) ?? this.#row(knock)]));
    const isSame = rows.size === this.#rows.size && [...rows.keys()].every((number) => this.#rows.has(number));
    if (isSame && this.#list.hasChildNodes()) return;
    this.#rows = rows;
    showRows(this.#list, [...rows.values()], say("waitsNone"));
  }

  #row({ number, label, address }) {
    const name = element("input", { maxLength: 80, dir: "auto", autocomplete: "off" });
    const answer = (role) =>
      attempt(row, async () => {
        await answerKnock(number, role, role && name.value.trim());
        await this.refresh();
      });
    const actions = Object.entries(say("letInAs")).map(([role, words]) => button(words, "action", () => answer(role)));
    const row = element("li", { className: "row" },
      element("p", {}, element("strong", { className: "number" }, number)),
      element("p", { className: "facts" }, element("bdi", {}, label), " · ", address),
      field(say("personField"), name),
      element("div", { className: "actions" }, ...actions, button(say("refuse"), "action", () => answer(null))));
    return row;
  }
}
