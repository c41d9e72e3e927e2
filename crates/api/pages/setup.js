// The page of the set-up link: makes the first administrator and logs in.
import { by, call, judgePassword, onSubmit, show, takeToken } from "/assets/portway.js";

const token = takeToken();

judgePassword(() => [by("name").value, by("email").value]);

onSubmit(async (form) => {
  const login = { name: form.get("name").trim(), password: form.get("password") };
  const email = form.get("email").trim();
  const made = await call("POST", "/setup", { token, ...login, ...(email && { email }) });
  if (!made.ok) return made.data;
  // The set-up logs in a program; the browser gets a session of its own.
  const session = await call("POST", "/session", login);
  if (!session.ok) return session.data;
  by("ask").hidden = true;
  by("welcome").textContent = session.data.name;
  show("done");
  return null;
});
