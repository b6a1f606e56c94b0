// What a page says of whose device this is: that it is supervised, and where people, browsers and keys are.

import { say } from "./strings.js";
import { ChatError, whoAsks } from "./wire.js";

/** Say it, as soon as the device has told. Returns what it has told, or null where it does not answer. */
export async function greet() {
  let door;
  try {
    door = await whoAsks();
  } catch (problem) {
    if (problem instanceof ChatError) return null; // whatever the page asks for next says so
    throw problem;
  }
  document.getElementById("supervised").hidden = !door.supervised;
  const way = document.getElementById("way");
  if (way) {
    document.getElementById("promise").hidden = door.supervised;
    way.textContent = say(door.may.includes("admin") ? "people" : door.you ? "yourself" : "signIn");
    way.href = door.you ? "people" : "claim";
    way.hidden = false;
  }
  return door;
}
