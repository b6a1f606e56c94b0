// The people who were let in: their names and roles, and codes for more of them.

import { changeUser, invite, listUsers, removeUser } from "./access.js";
import { when } from "./access_strings.js";
import { copyButton } from "./copy.js";
import { element } from "./dom.js";
import { attempt, confirmedButton, field, select, showRows } from "./form.js";
import { say } from "./strings.js";

export class Users {
  #list = document.getElementById("users");
  #shown = "";
  #onChange;

  /** `onChange()` is called when somebody came, went or was changed. */
  constructor(onChange) {
    this.#onChange = onChange;
    new Invitations();
  }

  async refresh() {
    const users = await listUsers();
    const shown = JSON.stringify(users);
    if (shown === this.#shown || this.#list.querySelector("details[open]")) return; // or somebody is writing in it
    const isFirst = this.#shown === "";
    this.#shown = shown;
    showRows(this.#list, users.map((user) => this.#row(user)), say("usersNone"));
    if (!isFirst) await this.#onChange();
  }

  #row({ id, name, role, created_s, sessions }) {
    const called = element("input", { value: name, required: true, maxLength: 80, dir: "auto", autocomplete: "off" });
    const roles = select(Object.entries(say("rolesAbout")), role);
    const change = (work) =>
      attempt(form, async () => {
        await work();
        details.open = false;
        await this.refresh();
      });
    const form = element("form", {},
      element("div", { className: "fields" }, field(say("personField"), called), field(say("roleField"), roles)),
      element("div", { className: "actions" },
        element("button", { className: "action" }, say("save")),
        confirmedButton(say("remove"), say("removeSure", name), () => change(() => removeUser(id)))));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      change(() => changeUser(id, { name: called.value.trim(), role: roles.value }));
    });
    const details = element("details", {}, element("summary", { ariaLabel: `${say("change")}: ${name}` }, say("change")), form);
    const facts = [say("roles")[role], say("browserCount", sessions), say("userSince", when(created_s))];
    return element("li", { className: "row" },
      element("p", {}, element("strong", { dir: "auto" }, name)),
      element("p", { className: "facts" }, facts.join(" · ")),
      details);
  }
}

class Invitations {
  #form = document.getElementById("invite");
  #name = element("input", { maxLength: 80, dir: "auto", autocomplete: "off" });
  #role = select(Object.entries(say("rolesAbout")).toReversed(), "member");
  #made = document.getElementById("invitation");

  constructor() {
    const fields = [field(say("personField"), this.#name), field(say("roleField"), this.#role)];
    document.getElementById("invite-fields").append(...fields);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(this.#form, () => this.#invite());
    });
  }

  async #invite() {
    this.#made.replaceChildren();
    const { code, url } = await invite(this.#role.value, this.#name.value.trim());
    this.#made.replaceChildren(
      element("p", { className: "number" }, code),
      element("p", { className: "secret" }, element("code", {}, url), copyButton(() => url)),
      element("p", { className: "hint" }, say("inviteTell")));
    this.#name.value = "";
  }
}
