// An answer's Markdown, shown without ever executing or loading anything that it contains.
//
// Three walls, one behind the other: raw HTML in an answer is shown as text and never becomes elements; what marked
// produces is sanitised by DOMPurify against a short list of elements and attributes; and the daemon's
// Content-Security-Policy forbids inline scripts and every foreign address.

import { Marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/dompurify.js";
import { copyButton } from "./copy.js";
import { element } from "./dom.js";
import { say } from "./strings.js";

// Elements without attributes that models write in earnest, mostly inside table cells.
const HARMLESS_TAG = /^<(?:br\s*\/?|\/?(?:sub|sup|kbd))>$/i;

const SANITISE = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre", "code", "kbd",
    "strong", "em", "del", "sub", "sup", "a", "table", "thead", "tbody", "tr", "th", "td",
  ],
  ALLOWED_ATTR: ["href", "align", "start", "data-language"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
  ADD_URI_SAFE_ATTR: ["align", "start", "data-language"], // all others must look like an address to stay
  RETURN_DOM_FRAGMENT: true,
};

const marked = new Marked({
  gfm: true,
  breaks: true, // models mean the line breaks they write
  renderer: {
    html: ({ text, block }) => {
      if (HARMLESS_TAG.test(text)) return text;
      return block ? codeBlock(text, "html") : escapeHtml(text);
    },
    code: ({ text, lang }) => codeBlock(text, (lang ?? "").match(/^[\w+#.-]{0,20}/)[0]),
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  },
});

function codeBlock(text, language) {
  return `<pre data-language="${escapeHtml(language)}"><code>${escapeHtml(text)}\n</code></pre>`;
}

function escapeHtml(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character]);
}

/** Shows a growing text in `container`; finished blocks keep their elements, so a selection in them survives. */
export class MarkdownView {
  #container;
  #blocks = []; // [{raw, nodes}] as shown

  constructor(container) {
    this.#container = container;
  }

  show(text) {
    const tokens = parse(text);
    let same = 0;
    while (same < this.#blocks.length && this.#blocks[same].raw === tokens[same]?.raw) same += 1;

    for (const { nodes } of this.#blocks.splice(same)) for (const node of nodes) node.remove();
    for (const token of tokens.slice(same)) {
      const fragment = render(token);
      this.#blocks.push({ raw: token.raw, nodes: [...fragment.childNodes] });
      this.#container.append(fragment);
    }
  }
}

// Markdown nested some thousand levels deep exhausts the parser's stack; such an answer is shown as plain text.
function parse(text) {
  try {
    return marked.lexer(text);
  } catch {
    return [{ type: "plain", raw: text }];
  }
}

function render(token) {
  let html;
  try {
    html = marked.parser([token]);
  } catch {
    html = `<p>${escapeHtml(token.raw)}</p>`;
  }
  const fragment = DOMPurify.sanitize(html, SANITISE);
  fragment.querySelectorAll("a").forEach(tameLink);
  fragment.querySelectorAll("pre").forEach(frameCode);
  fragment.querySelectorAll("table").forEach(frameTable);
  return fragment;
}

/** A link opens by a click only, in a new tab, tells the other side nothing, and shows where it really leads. */
function tameLink(link) {
  const address = link.getAttribute("href");
  if (!URL.canParse(address ?? "")) {
    link.removeAttribute("href");
    return;
  }
  link.rel = "noreferrer noopener";
  link.target = "_blank";
  link.title = address;

  const { host } = new URL(address);
  const shown = link.textContent.trim().replace(/^https?:\/\//i, "").toLowerCase();
  const isPlain = shown === host || shown.startsWith(`${host}/`);
  if (host && !isPlain) link.after(element("span", { className: "host" }, ` (${host})`));
}

function frameCode(block) {
  const frame = element("div", { className: "code" });
  const language = element("span", {}, block.dataset.language || say("code"));
  block.replaceWith(frame);
  block.tabIndex = 0; // wide code is scrolled by keyboard too
  frame.append(element("div", { className: "code-head" }, language, copyButton(() => block.textContent)), block);
}

function frameTable(table) {
  const frame = element("div", { className: "table", tabIndex: 0 });
  table.replaceWith(frame);
  frame.append(table);
}
