// Keeps the end of the answer in view, but only for a reader who is there already.

const AT_END_PX = 32; // about one line; less would lose readers whose browser rounds the scroll position

/** Follow the end of the page; `latest` is the button shown to a reader who has left it. */
export class Follow {
  #latest;
  #isFollowing = true;
  #lastY = 0;

  constructor(latest) {
    this.#latest = latest;
    latest.addEventListener("click", () => this.toEnd());
    addEventListener("scroll", () => this.#scrolled(), { passive: true });
    addEventListener("resize", () => this.grown());
  }

  /** The page has grown: stay at the end if the reader is there. */
  grown() {
    if (this.#isFollowing) scrollTo(0, document.documentElement.scrollHeight);
    this.#latest.hidden = this.#isFollowing || distanceToEnd() < AT_END_PX;
  }

  /** Go to the end and stay there. */
  toEnd() {
    this.#isFollowing = true;
    this.grown();
  }

  #scrolled() {
    // Only the reader scrolls up: the page itself scrolls downwards only.
    if (scrollY < this.#lastY - 1 && distanceToEnd() > 2) this.#isFollowing = false;
    else if (distanceToEnd() < AT_END_PX) this.#isFollowing = true;
    this.#lastY = scrollY;
    this.#latest.hidden = this.#isFollowing || distanceToEnd() < AT_END_PX;
  }
}

function distanceToEnd() {
  return document.documentElement.scrollHeight - innerHeight - scrollY;
}
