// The page of the login.
import { call, onSubmit } from "/assets/portway.js";

onSubmit(async (form) => {
  const login = { name: form.get("name").trim(), password: form.get("password") };
  const session = await call("POST", "/session", login);
  if (!session.ok) return session.data;
  location.assign("/");
  return null;
});
