// What an operator does: asked for in a dialog where a reason belongs to it, then by the API, then told.
import { ask, done, tell, visible } from "/static/api.js";
import { refresh } from "/static/live.js";
import { recording } from "/static/recording.js";

// The fields of a dialog, or null where it was closed without its button.
function fill(name, title) {
  const dialog = document.getElementById(`ask-${name}`);
  const heading = dialog.querySelector("h2");
  heading.textContent = visible(title ? `${heading.dataset.title} ${title}` : heading.dataset.title);
  dialog.querySelector("form").reset();
  dialog.returnValue = "no";
  dialog.showModal();
  dialog.querySelector("input, button[value=yes]").focus();
  return new Promise((given) => dialog.addEventListener("close", () => {
    given(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(dialog.querySelector("form"))) : null);
  }, { once: true }));
}

// Each gives what to say when it is done, or nothing where it was not.
const ACTIONS = {
  ...recording(fill),
  async logout() {
    await ask("POST", "/api/v1/logout");
    location.assign("/login");
  },
  async disconnect({ peer, name }) {
    const given = await fill("disconnect", name);
    if (!given) return "";
    await ask("POST", `/api/v1/peers/${peer}/disconnect`, { reason: given.reason });
    return `${name} is disconnected.`;
  },
  async protect({ peer, protected: wanted }) {
    await ask("POST", `/api/v1/peers/${peer}/protect`, { protected: Boolean(wanted) });
    return wanted ? "It is protected: it is never evicted." : "It is protected no longer.";
  },
  async connect() {
    const given = await fill("connect");
    if (!given) return "";
    done(`Dialling ${given.address}.`);
    const { id } = await ask("POST", "/api/v1/connect", { network: given.network, address: given.address.trim() });
    return `${given.address} is connected: session ${id}.`;
  },
  async ban({ subject }) {
    const given = await fill("ban", subject);
    if (!given) return "";
    await ask("POST", "/api/v1/bans", { subject, duration: Number(given.seconds), reason: given.reason });
    return `${subject} is banned.`;
  },
  async keepout() {
    const given = await fill("keepout");
    if (!given) return "";
    const { subject, scope, reason, seconds } = given;
    await ask("POST", "/api/v1/bans", { subject: subject.trim(), scope, reason, duration: Number(seconds) });
    return `${subject} is banned.`;
  },
  async change({ path, value }) {
    document.getElementById("value").defaultValue = value;
    const given = await fill("change", path);
    if (!given) return "";
    const { changed } = await ask("GET", "/api/v1/config");
    return set({ ...changed, [path]: plainly(given.value.trim()) }, changed);
  },
  async takeback({ path }) {
    const { changed, settings } = await ask("GET", "/api/v1/config");
    if (!Object.hasOwn(changed, path)) return "That changes nothing.";
    const { [path]: _, ...rest } = changed;
    const value = settings.find((one) => one.path === path)?.value ?? "-";
    return set(rest, changed, `The value stays ${value}; it is the file's again.`);
  },
  async rollback({ number }) {
    const { versions } = await ask("GET", "/api/v1/config/history");
    const version = versions.find((one) => one.number === Number(number));
    if (!version?.undoable) throw new Error(`Change ${number} can't be undone: the file was read again after it, or it is too long ago.`);
    const based_on = versions.at(-1).changed;
    const differences = await agreed(version.before, based_on);
    if (!differences) return "";
    await ask("POST", "/api/v1/config/rollback", { number: Number(number), based_on });
    return differences.length ? `Undone: ${differences.join("; ")}.` : "Undone. No value in force is another for it.";
  },
  async unban({ subject, scope }) {
    await ask("POST", "/api/v1/bans/lift", { subject, scope });
    return `${subject} is let in again.`;
  },
};

// A number or true or false where it reads as one; all else is text, such as 30s or 5MB.
function plainly(text) {
  return /^(true|false|-?\d+(\.\d+)?)$/.test(text) ? JSON.parse(text) : text;
}

// What setting all these values would change, once it was shown and agreed to, where there is anything; else null.
async function agreed(values, based_on) {
  const { differences } = await ask("POST", "/api/v1/config/check", { values, based_on });
  if (!differences.length) return differences;
  document.getElementById("differences").textContent = visible(differences.join("\n"));
  return await fill("apply") ? differences : null;
}

// Set all these values, and only these, over what the file says: checked first, shown, then applied. Refused where
// something else than `based_on` is set by then. Where no value differs it is done only if there is something to say of
// that, `same`, and without a question.
async function set(values, based_on, same = "") {
  const differences = await agreed(values, based_on);
  if (!differences) return "";
  if (!differences.length && !same) return "That changes nothing.";
  const applied = await ask("POST", "/api/v1/config/apply", { values, based_on });
  return applied.differences.length ? `Changed: ${applied.differences.join("; ")}.` : same || "That changes nothing.";
}

export async function act(button) {
  const facts = { ...button.dataset };
  tell("");
  done("");
  try {
    const said = await ACTIONS[facts.do](facts);
    if (!said) return;
    done(said);
    await refresh();
    // Where the button went with its row, the focus goes to the content and not to the top of the page.
    if (!document.activeElement || document.activeElement === document.body) document.getElementById("main").focus();
  } catch (error) {
    done("");
    tell(error.message);
  }
}
