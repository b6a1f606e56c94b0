// Small things kept in this browser. A browser that forbids storage forgets them; nothing else changes.

/** The remembered value, or "" where there is none. */
export function recall(key) {
  try {
    return localStorage.getItem(`edged.${key}`) ?? "";
  } catch {
    return "";
  }
}

/** Keep `value` under `key`; "" forgets it. */
export function remember(key, value) {
  try {
    if (value) localStorage.setItem(`edged.${key}`, value);
    else localStorage.removeItem(`edged.${key}`);
  } catch {
    // Private windows and full storage refuse; the page works without.
  }
}
