// The page of one-time links: sets a password.
import { by, call, judgePassword, onSubmit, show, takeToken } from "/assets/portway.js";

const token = takeToken();
if (!token) {
  by("ask").hidden = true;
  show("missing");
}

judgePassword(() => []);

onSubmit(async (form) => {
  const set = await call("POST", "/links/redeem", { token, password: form.get("password") });
  if (!set.ok) return set.data;
  by("ask").hidden = true;
  show("done");
  return null;
});
