// How a browser is let in: by the code that the device shows or an owner gives, or by a number that an owner compares.

import { enterCode, knock, lookAtKnock } from "./access.js";
import "./access_strings.js";
import { browserLabel } from "./browser_label.js";
import { greet } from "./door.js";
import { attempt, notice } from "./form.js";
import { recall, remember } from "./remember.js";
import { say, translatePage } from "./strings.js";
import { ChatError, whoAsks } from "./wire.js";

const LOOK_MS = 2000; // how often it is asked what became of a knock
const AGAIN_MS = 3000; // how soon the device is asked again that did not answer
// Crockford's digits, without those that look like others: the device takes O for 0, I and L for 1.
const CODE = /^[0-9A-HJKMNP-TV-Z]{8}$/;

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((found) => [found.id, found]));
const invited = decodeURIComponent(location.hash.slice(1));

translatePage();
// A code is a secret until it is used: it stays neither on the screen nor in the history.
if (location.hash) history.replaceState(null, "", location.pathname + location.search);
page.code.value = shown(invited);
page.enter.addEventListener("submit", enter);
page.code.addEventListener("input", () => {
  // Only behind what was typed: in the middle of it the cursor would jump.
  if (page.code.selectionEnd === page.code.value.length) page.code.value = shown(page.code.value);
});
page.ask.addEventListener("click", askToBeLetIn);
begin();

async function begin() {
  let door;
  while ((door = await greet()) === null) {
    page.lead.textContent = say("away");
    await pause(AGAIN_MS);
  }
  if (door.you && !invited) return location.replace(".");
  show(door);
  if (invited) page.name.focus();
  else if (matchMedia("(hover: hover)").matches) page.code.focus(); // else the keyboard would cover half of the page
  if (recall("knock")) waitFor(JSON.parse(recall("knock")));
}

function show({ name, claimed, you, may }) {
  page.title.textContent = say(claimed ? "enterTitle" : "claimTitle");
  page["come-in"].textContent = say(claimed ? "enterButton" : "claimButton");
  page.lead.textContent = you ? say("alreadyIn", you.name) : say(claimed ? "enterLead" : "claimLead", name);
  page.chat.textContent = say(you ? "toChat" : "chatAnyway");
  page.onward.hidden = !may.includes("chat");
  page.knock.hidden = !claimed || Boolean(you);
  page.enter.hidden = false;
}

async function enter(event) {
  event.preventDefault();
  const code = plain(page.code.value);
  const isEntered = await attempt(page.enter, async () => {
    if (!CODE.test(code)) throw new ChatError("invalid_request");
    await enterCode(code, page.name.value.trim(), browserLabel());
    await goIn();
  }, say("codeRefusals"));
  if (isEntered) return;
  page.code.focus();
  page.code.select();
  await greet().then((door) => door && show(door)); // an old code may be over: asked, the device shows a new one
}

async function askToBeLetIn() {
  await attempt(page.knock, async () => {
    const { id, number } = await knock(browserLabel());
    remember("knock", JSON.stringify({ id, number })); // a reload must not lose it
    waitFor({ id, number });
  }, say("knockRefusals"));
}

/** Show the number until an owner has answered. */
async function waitFor({ id, number }) {
  page.number.textContent = number;
  page.knocking.hidden = true;
  page.waiting.hidden = false;
  try {
    while (!(await isLetIn(id))) await pause(LOOK_MS);
    remember("knock", "");
    await goIn();
  } catch (problem) {
    if (!(problem instanceof ChatError)) throw problem;
    remember("knock", "");
    if (problem.code === "not_found" && (await whoAsks()).you) return location.replace("."); // let in, in another tab
    page.knocking.hidden = false;
    page.waiting.hidden = true;
    page.knock.querySelector(":scope > .error")?.remove();
    page.knock.append(notice(problem, say("knockRefusals")));
  }
}

async function isLetIn(id) {
  try {
    return Boolean((await lookAtKnock(id)).you);
  } catch (problem) {
    // The network comes back, and so does a device that is busy or starts again.
    if (problem instanceof ChatError && problem.isRetryable) return false;
    throw problem;
  }
}

/** To the chat, unless this browser has not kept what makes it somebody's. */
async function goIn() {
  if (!(await whoAsks()).you) throw new ChatError("cookie_refused");
  location.replace(".");
}

/** What was typed as the letters and digits of a code; a whole link has it behind its `#`. */
function plain(typed) {
  const bare = typed.normalize("NFKC").split("#").at(-1).toUpperCase();
  return bare.replace(/[^0-9A-Z]/g, "").replace(/O/g, "0").replace(/[IL]/g, "1");
}

function shown(typed) {
  const digits = plain(typed);
  return digits.length > 4 ? `${digits.slice(0, 4)}-${digits.slice(4)}` : digits;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
