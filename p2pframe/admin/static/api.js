// Requests to the API, with the token against forged changes that the page carries; and what the page says of them.
const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

// Who asks too often (429) is told how long to wait, and nothing of what it asked for was done: it asks again then.
export async function patiently(path, options) {
  for (let tries = 3; ; tries -= 1) {
    const answer = await fetch(path, options);
    const seconds = Number(answer.headers.get("retry-after"));
    if (answer.status !== 429 || !tries || seconds > 10) return answer;
    await new Promise((then) => setTimeout(then, 1000 * Math.max(1, seconds)));
  }
}

export async function ask(method, path, body) {
  const headers = { "x-csrf-token": csrf };
  if (body !== undefined) headers["content-type"] = "application/json";
  // A log-in that failed is not tried again by itself: each try counts.
  const asked = csrf ? patiently : fetch;
  let answer;
  try {
    answer = await asked(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Error("The node does not answer.");
  }
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ title: answer.statusText }));
    const more = (problem.errors ?? []).map((one) => `${one.where}: ${one.what}`).join("; ");
    throw new Error(more || problem.detail || problem.title);
  }
  return answer.status === 204 ? null : answer.json();
}

// What can't be seen, as p2pframe/visible.py has it: a page that the node makes has it spelled out already.
const HIDDEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufdd0-\ufdef\ufe00-\ufe0d\uffa0\ufff0-\ufff8\ufffe\uffff\u2065\u{e0000}-\u{e0fff}\u{ffffe}\u{fffff}\u{10fffe}\u{10ffff}]/gu;

// Text that the API gave, with all of it to be seen: marks of direction as \u202e, controls as \x1b.
export function visible(text) {
  return text.replace(HIDDEN, (one) => {
    const code = one.codePointAt(0);
    const [letter, digits] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
    return `\\${letter}${code.toString(16).padStart(digits, "0")}`;
  });
}

function say(id, text) {
  const place = document.getElementById(id);
  place.textContent = visible(text && text[0].toUpperCase() + text.slice(1));
  place.hidden = !text;
}

// What went wrong, and what went well; nothing for no text.
export const tell = (text) => say("told", text);
export const done = (text) => say("done", text);
