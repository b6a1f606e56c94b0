// Keys for programs: made, shown once, revoked.

import { createKey, listKeys, revokeKey } from "./access.js";
import { when } from "./access_strings.js";
import { copyButton } from "./copy.js";
import { element } from "./dom.js";
import { attempt, confirmedButton, field, select, showRows } from "./form.js";
import { say } from "./strings.js";

const LIVES_DAYS = [1, 30, 365];
const GUARDED = ["cloud", "admin"]; // the daemon makes keys for these only where nobody can listen

export class Keys {
  #list = document.getElementById("keys");

  /** `transport` is how this page came: "plain" can be listened to. */
  constructor(transport) {
    new NewKey(transport, () => this.refresh());
  }

  async refresh() {
    const keys = await listKeys();
    showRows(this.#list, keys.map((key) => this.#row(key)), say("keysNone"));
  }

  #row({ id, name, scopes, expires_s, quota, ceiling, used }) {
    const limits = Object.entries(say("quotaOf")).filter(([what]) => quota[what] != null);
    const facts = [scopes.map((scope) => say("scopes")[scope]).join(", "), say("keyUsed", used)];
    if (limits.length) facts.push(say("atMost", limits.map(([what, words]) => words(quota[what]))));
    if (ceiling !== "cloud") facts.push(say("ceilings")[ceiling]);
    facts.push(expires_s == null ? say("lifeForever") : say("keyUntil", when(expires_s)));
    const revoke = () =>
      attempt(row, async () => {
        await revokeKey(id);
        await this.refresh();
      });
    const row = element("li", { className: "row" },
      element("p", {}, element("strong", { dir: "auto" }, name)),
      element("p", { className: "facts" }, facts.join(" · ")),
      element("div", { className: "actions" }, confirmedButton(say("revoke"), say("revokeSure", name), revoke)));
    return row;
  }
}

class NewKey {
  #form = document.getElementById("create");
  #name = element("input", { required: true, maxLength: 80, dir: "auto", autocomplete: "off" });
  #scopes;
  #life = select([...LIVES_DAYS.map((days) => [days, say("life", days)]), ["", say("lifeForever")]], "");
  #limits;
  #ceiling = select(Object.entries(say("ceilings")), "cloud");
  #created = document.getElementById("created");
  #onCreated;

  constructor(transport, onCreated) {
    this.#onCreated = onCreated;
    this.#scopes = Object.keys(say("scopes")).map((scope) =>
      element("input", { type: "checkbox", value: scope, checked: scope === "chat", disabled: transport === "plain" && GUARDED.includes(scope) }));
    this.#limits = Object.keys(say("quota")).map((what) =>
      element("input", { name: what, type: "number", min: 1, max: 1e12, step: 1, inputMode: "numeric", placeholder: say("noLimit") }));

    const checks = this.#scopes.map((box) => element("label", { className: "check" }, box, say("scopes")[box.value]));
    const scopes = element("fieldset", {}, element("legend", {}, say("scopesField")), ...checks);
    if (transport === "plain") scopes.append(element("p", { className: "hint" }, say("scopesLocked")));
    const limits = this.#limits.map((input) => field(say("quota")[input.name], input));
    document.getElementById("create-fields").append(
      field(say("keyName"), this.#name),
      field(say("lifeField"), this.#life),
      scopes,
      element("details", {}, element("summary", {}, say("limits")),
        element("div", { className: "fields" }, ...limits, field(say("ceilingField"), this.#ceiling))));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(this.#form, () => this.#create());
    });
  }

  async #create() {
    this.#created.replaceChildren();
    const limits = this.#limits.filter((input) => input.value).map((input) => [input.name, input.valueAsNumber]);
    const { key } = await createKey({
      name: this.#name.value.trim(),
      scopes: this.#scopes.filter((box) => box.checked).map((box) => box.value),
      ceiling: this.#ceiling.value,
      quota: Object.fromEntries(limits),
      ...(this.#life.value && { life_days: Number(this.#life.value) }),
    });
    this.#created.replaceChildren(
      element("p", {}, say("keyOnce")),
      element("p", { className: "secret" }, element("code", {}, key), copyButton(() => key)));
    this.#name.value = "";
    await this.#onCreated();
  }
}
