// The messages of a peer: one is looked at without leaving the list, and the list can be held still.
import { patiently, tell } from "/static/api.js";

// Shows the message that a place is about; the rest of the page stays as it is.
async function look(place, focus) {
  const answer = await patiently(place, { headers: { accept: "text/html" } });
  if (answer.status === 429) { tell("Too many requests: try again in a moment."); return; }
  if (!answer.ok || answer.redirected) { location.assign(place); return; }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("message");
  const section = document.getElementById("message");
  if (!fresh || !section) { location.assign(place); return; }
  section.replaceChildren(...fresh.childNodes);
  mark();
  if (focus) section.focus();
}

function mark() {
  const chosen = new URLSearchParams(location.search).get("message");
  for (const link of document.querySelectorAll("a[data-message]")) {
    if (link.dataset.message === chosen) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-message]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  look(link.href, true).catch(() => tell("The node does not answer."));
});
addEventListener("popstate", () => { look(location.href, false).catch(() => {}); });

// What is held is no live part of the page: what refreshes it passes it by.
const button = document.querySelector("[data-hold]");
button?.addEventListener("click", () => {
  const hold = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(hold));
  button.textContent = hold ? "Go on" : "Pause";
  const [from, to] = hold ? ["refresh", "held"] : ["held", "refresh"];
  for (const part of document.querySelectorAll(`main [data-${from}]`)) {
    part.dataset[to] = part.dataset[from];
    delete part.dataset[from];
  }
});
