// Requests to the API, with the token against forged changes that the page carries; and what the page says of them.
const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

export async function ask(method, path, body) {
  const headers = { "x-csrf-token": csrf };
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
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

function say(id, text) {
  const place = document.getElementById(id);
  place.textContent = text && text[0].toUpperCase() + text.slice(1);
  place.hidden = !text;
}

// What went wrong, and what went well; nothing for no text.
export const tell = (text) => say("told", text);
export const done = (text) => say("done", text);
