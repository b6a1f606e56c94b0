// The page: puts its parts together. Each part is one file; the way of a question is
// composer.js → conversation.js → wire.js → answer.js → markdown.js.

import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { button } from "./dom.js";
import { greet } from "./door.js";
import { Follow } from "./follow.js";
import { Models, Readiness } from "./models.js";
import { say, translatePage } from "./strings.js";

translatePage();

const welcome = document.getElementById("welcome");
const newChat = document.getElementById("new-chat");
const models = new Models();

const conversation = new Conversation({
  list: document.getElementById("conversation"),
  follow: new Follow(document.getElementById("latest")),
  model: () => models.chosen,
  onChange: (answeredBy) => {
    welcome.hidden = !conversation.isEmpty;
    newChat.hidden = conversation.isEmpty;
    composer.setBusy(conversation.isBusy);
    if (answeredBy) models.noteGuide(answeredBy);
    else if (!conversation.isBusy) readiness.watch(); // the model may be gone, or the device
  },
});

const ask = (question) => {
  conversation.ask(question);
  composer.focus();
};

const composer = new Composer({
  onSend: ask,
  onStop: () => conversation.stop(),
});

newChat.addEventListener("click", () => {
  conversation.clear();
  composer.focus();
});

const examples = say("examples").map((question) => button(question, "example", () => ask(question)));
document.getElementById("examples").append(...examples);

// The daemon may be starting, or away; and a model may have been added while the page was in the background.
// Whoever is not let in is led to where they can be, unless that would lose what they have before them.
const readiness = new Readiness(models, () => conversation.isEmpty && location.replace("claim"));
document.addEventListener("visibilitychange", () => document.hidden || readiness.watch());
readiness.watch();
composer.focus();
greet();
