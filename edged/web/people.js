// The page about who may do what: an owner's people, browsers, keys and switches; for everybody else their own browsers.

import "./access_strings.js";
import { Browsers } from "./browsers.js";
import { Choices } from "./choices.js";
import { greet } from "./door.js";
import { notice } from "./form.js";
import { Keys } from "./keys.js";
import { Knocks } from "./knocks.js";
import { say, translatePage } from "./strings.js";
import { Users } from "./users.js";
import { ChatError } from "./wire.js";

const LOOK_MS = 3000; // somebody stands beside the owner and waits

const state = document.getElementById("state");

translatePage();
begin();

async function begin() {
  const door = await greet();
  if (door === null) {
    state.replaceChildren(notice(new ChatError("network")));
    setTimeout(begin, LOOK_MS);
    return;
  }
  const isOwner = door.may.includes("admin");
  if (!door.you && !isOwner) return location.replace("claim");

  state.replaceChildren();
  const title = say(isOwner ? "people" : "yourself");
  document.title = `${title} · edged`;
  document.getElementById("title").textContent = title;
  document.getElementById("you").textContent = door.you ? say("youAre", door.you) : "";
  for (const section of document.querySelectorAll(".owners")) section.hidden = !isOwner;

  const browsers = new Browsers();
  if (!isOwner) return follow(() => browsers.refresh());
  const users = new Users(() => browsers.refresh());
  const knocks = new Knocks();
  const keys = new Keys(door.transport);
  const choices = new Choices(greet);
  await follow(() => Promise.all([browsers, keys, choices].map((part) => part.refresh())));
  for (;;) {
    await follow(() => Promise.all([knocks, users].map((part) => part.refresh())));
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    while (document.hidden) await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

/** Ask the device, and say so while it does not answer. */
async function follow(ask) {
  try {
    await ask();
    state.replaceChildren();
  } catch (problem) {
    if (!(problem instanceof ChatError)) throw problem;
    if (problem.isLocked) return location.replace("claim");
    if (!state.hasChildNodes()) state.append(notice(problem));
  }
}
