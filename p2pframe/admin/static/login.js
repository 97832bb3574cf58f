// The code comes in the fragment of the link, which no server sees; it is taken out of the history at once.
import { ask, tell } from "/static/api.js";

async function logIn(code) {
  try {
    await ask("POST", "/api/v1/login", { code });
    location.replace("/");
  } catch (error) {
    tell(error.message);
  }
}

const code = location.hash.slice(1);
if (code) {
  history.replaceState(null, "", "/login");
  logIn(code);
}
document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  logIn(new FormData(event.target).get("code").trim());
});
