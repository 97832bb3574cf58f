// Every page: live parts, sorting, filtering, actions. Without it the pages show what was when they were made.
import { ask, tell } from "/static/api.js";

const live = document.getElementById("live");

// --- live parts: what happened makes the page fetch itself again, not more than once in a second ---

let waiting = null;
let again = false;

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (answer.redirected) location.assign("/login");
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const other = fresh.querySelector(`[data-refresh="${part.dataset.refresh}"]`);
    if (!other || part.contains(document.activeElement) && document.activeElement.matches("input")) continue;
    const known = new Set([...part.querySelectorAll("tr[data-key]")].map((row) => row.dataset.key));
    const focused = document.activeElement?.getAttribute?.("aria-label");
    const sorts = [...part.querySelectorAll("th[aria-sort]")].map((th) => [th.cellIndex, th.getAttribute("aria-sort")]);
    const scrolled = [part.scrollLeft, part.scrollTop];
    part.replaceChildren(...other.childNodes);
    for (const row of part.querySelectorAll("tr[data-key]")) row.classList.toggle("new", !known.has(row.dataset.key));
    for (const [index, direction] of sorts) sortBy(part.querySelectorAll("th")[index], direction);
    [part.scrollLeft, part.scrollTop] = scrolled;
    if (focused) part.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  }
  filter();
}

function soon() {
  if (waiting) { again = true; return; }
  waiting = setTimeout(async () => {
    await refresh().catch(() => {});
    waiting = null;
    if (again) { again = false; soon(); }
  }, 1000);
}

const KINDS = ["session.opened", "session.closed", "session.connecting", "peer.refused", "peer.judged", "peer.banned", "peer.unbanned"];
const stream = new EventSource("/api/v1/events/stream");
stream.onopen = () => { live.textContent = "live"; live.dataset.state = "live"; soon(); };
stream.onerror = () => { live.textContent = "not connected"; live.dataset.state = "gone"; };
stream.onmessage = soon;
for (const kind of KINDS) stream.addEventListener(kind, soon);
setInterval(soon, 5000);

// --- sorting and filtering ---

function sortBy(header, direction) {
  const table = header.closest("table");
  const index = header.cellIndex;
  for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", direction);
  const value = (row) => row.cells[index].dataset.value ?? row.cells[index].textContent;
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    const numbers = [Number(a), Number(b)];
    return sign * (numbers.some(Number.isNaN) ? a.localeCompare(b) : numbers[0] - numbers[1]);
  });
  table.tBodies[0].append(...rows);
}

function filter() {
  for (const field of document.querySelectorAll("[data-filter]")) {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...document.getElementById(field.dataset.filter).tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    const shown = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = shown === rows.length ? `${shown} peers` : `${shown} of ${rows.length} peers`;
  }
}

document.addEventListener("input", (event) => { if (event.target.matches("[data-filter]")) filter(); });

// --- actions ---

function why(withTime) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-time").hidden = !withTime;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    const given = new FormData(dialog.querySelector("form"));
    done(dialog.returnValue === "yes" ? { reason: given.get("reason"), seconds: Number(given.get("seconds")) } : null);
  }, { once: true }));
}

const ACTIONS = {
  async logout() { await ask("POST", "/api/v1/logout"); location.assign("/login"); },
  async disconnect(button) {
    const given = await why(false);
    const key = button.closest("tr").dataset.key.split("/").map(encodeURIComponent).join("/");
    if (given) await ask("POST", `/api/v1/peers/${key}/disconnect`, { reason: given.reason });
  },
  async ban(button) {
    const subject = button.dataset.address.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
    const given = await why(true);
    if (given) await ask("POST", "/api/v1/bans", { subject, duration: given.seconds, reason: given.reason });
  },
  async unban(button) { await ask("POST", "/api/v1/bans/lift", { subject: button.dataset.subject, scope: button.dataset.scope }); },
};

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const header = button.closest("[data-sortable] th");
  if (header) { sortBy(header, header.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending"); return; }
  const act = ACTIONS[button.dataset.do];
  if (!act) return;
  try { tell(""); await act(button); soon(); } catch (error) { tell(error.message); }
});
