// Requests to the API, with the token against forged changes that the page carries.
const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

export async function ask(method, path, body) {
  const headers = { "x-csrf-token": csrf };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ title: answer.statusText }));
    const more = (problem.errors ?? []).map((one) => `${one.where}: ${one.what}`).join("; ");
    throw new Error(more || problem.detail || problem.title);
  }
  return answer.status === 204 ? null : answer.json();
}

export function tell(text) {
  const place = document.getElementById("told");
  place.textContent = text;
  place.hidden = !text;
}
