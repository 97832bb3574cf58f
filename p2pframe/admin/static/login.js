// The code comes in the fragment of the link, which no server sees; it is taken out of the history at once.
import { ask, tell } from "/static/api.js";

const form = document.getElementById("login");
const button = form.querySelector("button");

async function logIn(code) {
  button.disabled = true;
  tell("");
  try {
    await ask("POST", "/api/v1/login", { code });
    location.replace("/");
  } catch (error) {
    tell(error.message);
    button.disabled = false;
    form.elements.code.select();
  }
}

function fromLink() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", "/login");
  logIn(code);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  // Who pastes the whole link means its code.
  logIn(form.elements.code.value.trim().replace(/^.*#/, ""));
});
addEventListener("hashchange", fromLink);
fromLink();
