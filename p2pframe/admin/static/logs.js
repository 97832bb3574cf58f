// The log's page: what is chosen counts at once, and lines stand still where somebody wants to read them.
import { hold } from "/static/live.js";

const form = document.getElementById("choose");
const pause = document.getElementById("pause");
document.getElementById("level").addEventListener("change", () => form.requestSubmit());
pause.addEventListener("click", () => {
  const paused = pause.getAttribute("aria-pressed") !== "true";
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Go on" : "Pause";
  hold(paused);
});
