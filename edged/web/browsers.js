// The browsers that are signed in: one's own, and for an owner everybody's.

import { endSession, listSessions } from "./access.js";
import { when } from "./access_strings.js";
import { element } from "./dom.js";
import { attempt, confirmedButton, showRows } from "./form.js";
import { say } from "./strings.js";

export class Browsers {
  #list = document.getElementById("sessions");

  async refresh() {
    const sessions = await listSessions();
    sessions.sort((one, other) => other.current - one.current || other.used_s - one.used_s);
    showRows(this.#list, sessions.map((session) => this.#row(session)), say("browsersNone"));
  }

  #row({ id, user, label, used_s, expires_s, current }) {
    const facts = [say("browserOf", user.name), say("lastUsed", when(used_s)), say("staysUntil", when(expires_s))];
    const end = () =>
      attempt(row, async () => {
        await endSession(current ? "current" : id);
        if (current) location.replace(".");
        else await this.refresh();
      });
    const row = element("li", { className: "row" },
      element("p", {}, element("strong", { dir: "auto" }, label)),
      element("p", { className: "facts" }, facts.join(" · ")),
      element("div", { className: "actions" }, confirmedButton(say("signOut"), say("signOutSure"), end)));
    if (current) row.firstChild.append(" ", element("span", { className: "mark" }, say("thisBrowser")));
    return row;
  }
}
