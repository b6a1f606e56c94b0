// A code that lets a browser in: to be read out, sent as a link, or seen by a phone's camera.

import { copyButton } from "./copy.js";
import { element } from "./dom.js";
import { say } from "./strings.js";

export function showInvitation(place, { code, url, qr }, hint) {
  place.replaceChildren(
    element("p", { className: "number" }, code),
    element("img", { className: "qr", src: qr, alt: say("qrAlt"), width: 164, height: 164 }),
    element("p", { className: "secret" }, element("code", {}, url), copyButton(() => url)),
    element("p", { className: "hint" }, hint));
}
