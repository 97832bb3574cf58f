// The code comes in the fragment of the link, which no server sees; it is taken out of the history at once.
import { ask, tell } from "/static/api.js";

const form = document.getElementById("login");
const other = document.getElementById("by-password");
const buttons = [...document.querySelectorAll("form button")];

async function logIn(body, field) {
  for (const button of buttons) button.disabled = true;
  tell("");
  try {
    await ask("POST", "/api/v1/login", body);
    location.replace("/");
  } catch (error) {
    tell(error.message);
    for (const button of buttons) button.disabled = false;
    field.select();
  }
}

function fromLink() {
  const code = location.hash.slice(1);
  if (!code) return;
  history.replaceState(null, "", "/login");
  logIn({ code }, form.elements.code);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  // Who pastes the whole link means its code.
  logIn({ code: form.elements.code.value.trim().replace(/^.*#/, "") }, form.elements.code);
});
other?.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn({ password: other.elements.password.value }, other.elements.password);
});
addEventListener("hashchange", fromLink);
fromLink();
