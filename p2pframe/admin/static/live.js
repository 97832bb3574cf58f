// Live parts: what happens makes the page ask for itself again, at most once in a second, and change what is different.
import { tell } from "/static/api.js";
import { filter, sortBy } from "/static/tables.js";

const KINDS = [
  "line", "session.opened", "session.closed", "session.connecting", "peer.refused", "peer.judged", "peer.banned", "peer.unbanned",
];
const OURS = new Set(["aria-sort", "hidden", "open"]);
let waiting = false;
let again = false;
let pressed = false;
let paused = false;
let gone = false;
let tag = "";
let rest = 1000;

// Makes `old` what `fresh` is. What is the same stays the same node: its focus, scroll position and selection last.
function change(old, fresh) {
  for (const { name } of [...old.attributes]) if (!OURS.has(name) && !fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.isEqualNode(fresh)) return;
  const known = new Map([...old.children].filter((one) => one.dataset.key).map((one) => [one.dataset.key, one]));
  let place = old.firstChild;
  for (const other of [...fresh.childNodes]) {
    const key = other.dataset?.key;
    let same = key === undefined ? place : known.get(key);
    if (same && key === undefined && (same.nodeName !== other.nodeName || same.dataset?.key)) same = undefined;
    if (!same) {
      old.insertBefore(other, place);
      if (key !== undefined && known.size) other.classList.add("new");
      continue;
    }
    known.delete(key);
    if (same === place) place = place.nextSibling;
    else old.insertBefore(same, place);
    if (same.nodeType === Node.ELEMENT_NODE) change(same, other);
    else if (same.data !== other.data) same.data = other.data;
  }
  while (place) { const next = place.nextSibling; place.remove(); place = next; }
}

// What was done by hand is shown as it is now; a page that asks by itself may get what it has: see rendering.py.
export async function refresh(byItself = false) {
  // A page of which nothing is live, or whose peer is gone, asks for nothing.
  if (gone || !document.querySelector("[data-refresh]")) return;
  const headers = { accept: "text/html" };
  if (byItself) headers["x-refresh"] = "1";
  if (byItself && tag) headers["if-none-match"] = tag;
  const answer = await fetch(location.href, { headers });
  rest = 1000 * Math.max(1, Number(answer.headers.get("x-refresh-after") ?? answer.headers.get("retry-after")));
  if (answer.status === 304) return;
  // Too many requests: the page stays as it is, and asks again when it may.
  if (answer.status === 429) { soon(); return; }
  tag = answer.headers.get("etag") ?? "";
  if (answer.redirected) { location.assign("/login"); return; }
  if (answer.status === 404) { gone = true; tell(document.querySelector("[data-refresh]").dataset.gone ?? "This peer is connected no longer."); }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const other = fresh.querySelector(`[data-refresh="${part.dataset.refresh}"]`);
    if (!other) continue;
    const sorted = [...part.querySelectorAll("th[aria-sort]")];
    change(part, other);
    for (const header of sorted) if (header.isConnected) sortBy(header, header.getAttribute("aria-sort"));
  }
  filter();
}

// Nothing changes under a finger, or under text that is being marked.
function held() {
  return paused || pressed || !getSelection().isCollapsed && document.activeElement?.matches?.("input") === false;
}

// Whether everything stands still until further notice.
export function hold(on) {
  paused = on;
  if (!on) soon();
}

export function soon() {
  if (waiting) { again = true; return; }
  waiting = true;
  setTimeout(async () => {
    if (held()) again = true;
    else await refresh(true).catch(() => {});
    waiting = false;
    if (again) { again = false; soon(); }
  }, rest);
}

export function follow() {
  const live = document.getElementById("live");
  const say = (text, state) => { live.textContent = text; live.dataset.state = state; };
  let stream = null;
  let later = 0;
  const open = () => {
    stream = new EventSource(document.querySelector("[data-stream]")?.dataset.stream ?? "/api/v1/events/stream");
    stream.onopen = () => { say("live", "live"); soon(); };
    stream.onerror = ({ target }) => {
      say("not connected", "gone");
      // What is refused (as many streams or requests as there may be) no browser tries again by itself.
      if (target === stream && target.readyState === EventSource.CLOSED) later = setTimeout(open, 10000);
    };
    for (const kind of KINDS) stream.addEventListener(kind, soon);
  };
  const close = () => { clearTimeout(later); stream?.close(); stream = null; };
  // A page that nobody sees has no stream: browsers, and the node, allow so many of them and no more.
  document.addEventListener("visibilitychange", () => { close(); if (!document.hidden) open(); });
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  addEventListener("pointerdown", () => { pressed = true; });
  for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => { pressed = false; });
  setInterval(() => { if (!document.hidden) soon(); }, 5000);
  if (!document.hidden) open();
}
