// What all pages share: speaking with the API, showing problems, judging passwords as they are typed.

/** Calls the API. Returns the status and the JSON of the answer; never throws. */
export async function call(method, path, body) {
  const request = { method, headers: { accept: "application/json" }, credentials: "same-origin" };
  if (body !== undefined) {
    request.headers["content-type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(`/api/v1${path}`, request);
    const text = await response.text();
    return { ok: response.ok, status: response.status, data: text ? JSON.parse(text) : null };
  } catch {
    const detail = "Portway does not answer. Does it still run?";
    return { ok: false, status: 0, data: { detail, findings: [] } };
  }
}

/** Returns the element with an id. */
export const by = (id) => document.getElementById(id);

/** Returns a new element with a text. */
export function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Takes the token of a one-time link out of the address, so that no history keeps it. */
export function takeToken() {
  const token = new URLSearchParams(location.search).get("token");
  history.replaceState(null, "", location.pathname);
  return token ? token.trim() : null;
}

/** Shows a part of the page that was hidden, and leads the reader there. */
export function show(id) {
  by(id).hidden = false;
  by(id).focus();
}

function sentence(text) {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** Shows what the server has found, or takes it away again. */
export function showProblem(problem) {
  const box = by("problem");
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  box.replaceChildren();
  box.hidden = !problem;
  if (!problem) return;
  const findings = problem.findings ?? [];
  if (findings.length === 0) box.append(element("div", sentence(problem.detail)));
  if (findings.length > 0) {
    const list = element("ul");
    for (const finding of findings) {
      const remedy = finding.remedy ? ` ${sentence(finding.remedy.text)}` : "";
      list.append(element("li", sentence(finding.text) + remedy));
      const field = finding.at?.field?.path?.at(-1);
      const input = typeof field === "string" ? by(field) : null;
      if (input) input.setAttribute("aria-invalid", "true");
    }
    box.append(list);
  }
  if (problem.status >= 500 && problem.request_id) {
    box.append(element("small", `Request ${problem.request_id}`));
  }
  box.focus();
}

/** Sends a form by `send`, one request at a time; what it returns is a problem or nothing. */
export function onSubmit(send) {
  const form = by("form");
  const button = form.querySelector("button[type=submit]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const empty = [...form.querySelectorAll("[required]")].find((input) => !input.value.trim());
    if (empty) {
      empty.setAttribute("aria-invalid", "true");
      empty.focus();
      return;
    }
    showProblem(null);
    button.disabled = true;
    const problem = await send(new FormData(form));
    button.disabled = false;
    if (problem) showProblem(problem);
  });
  const shown = by("show");
  shown.addEventListener("change", () => {
    by("password").type = shown.checked ? "text" : "password";
  });
}

/** Marks the rules that the password meets, while it is typed. The server has the last word. */
export function judgePassword(names) {
  const password = by("password");
  const rule = (name) => document.querySelector(`[data-rule=${name}]`);
  const judge = () => {
    const text = password.value;
    const lower = text.toLowerCase();
    const known = names().map((name) => name.trim().toLowerCase()).filter(Boolean);
    const isName = known.some((name) => lower.includes(name) && lower.replaceAll(name, "").length < 4);
    rule("length").classList.toggle("met", [...text].length >= 12);
    rule("name").classList.toggle("met", text !== "" && !isName);
  };
  document.addEventListener("input", judge);
  judge();
}
