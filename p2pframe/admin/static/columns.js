// More columns of the table of peers, or fewer: as it was left the last time. The node makes those that are asked for.
import { refresh } from "/static/live.js";

const button = document.getElementById("columns");
const here = new URL(location.href);

async function show(all) {
  button.setAttribute("aria-pressed", String(all));
  if (all) here.searchParams.set("columns", "all");
  else here.searchParams.delete("columns");
  history.replaceState(null, "", here);
  await refresh();
}

// Where a browser keeps nothing it is shown, and not remembered.
function remembered() {
  try { return localStorage.getItem("columns") === "all"; } catch { return false; }
}

button.addEventListener("click", () => {
  const all = !here.searchParams.has("columns");
  try { localStorage.setItem("columns", all ? "all" : "first"); } catch { /* see above */ }
  show(all);
});
if (remembered() && !here.searchParams.has("columns")) show(true);
