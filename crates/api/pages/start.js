// The start page: how Portway is, and for those who are logged in, its sites.
import { by, call, element } from "/assets/portway.js";

const HEALTH = {
  ok: "All is well.",
  degraded: "It works, and something needs attention.",
  failed: "Something does not work.",
};
const TONE = { ok: "good", degraded: "warn", failed: "bad" };
const STATE = {
  live: ["live", "good"],
  pending: ["on its way", "warn"],
  held: ["held: the version before serves", "bad"],
  blocked: ["blocked", "bad"],
};

function tunnel() {
  const port = location.port || (location.protocol === "https:" ? "443" : "80");
  const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const own = isLocal ? port : "8900";
  by("tunnel").textContent = `ssh -L ${own}:localhost:${own} USER@THIS-MACHINE`;
  by("tunnel-url").textContent = `http://localhost:${own}`;
}

/**
 * Shows how Portway is; those who may see them are told the checks, too. Returns whether there is
 * anybody who could be logged in.
 */
async function health() {
  const { ok, data } = await call("GET", "/health");
  const line = by("health");
  if (!ok) {
    line.className = "state bad";
    line.textContent = data.detail;
    return false;
  }
  line.className = `state ${TONE[data.status]}`;
  line.textContent = HEALTH[data.status] + (data.version ? ` Version ${data.version}.` : "");
  by("setup").hidden = data.set_up;
  by("login").hidden = !data.set_up;
  const checks = data.checks ?? [];
  const wrong = checks.filter((check) => check.status !== "ok");
  by("attention").hidden = wrong.length === 0;
  for (const check of wrong) {
    const row = element("li");
    row.append(element("strong", check.name, TONE[check.status]), element("span", check.detail, "hosts"));
    by("checks").append(row);
  }
  return data.set_up;
}

function address(host) {
  const port = document.documentElement.dataset.httpsPort;
  const name = host === "*" ? location.hostname : host.includes(":") ? `[${host}]` : host;
  return `https://${name}${port === "443" ? "" : `:${port}`}/`;
}

function link(host) {
  if (host.startsWith("*.")) return element("span", host);
  const made = element("a", host === "*" ? "any other host" : host);
  made.href = address(host);
  return made;
}

function row(site) {
  const made = element("li");
  const hosts = element("span", undefined, "hosts");
  site.hosts.forEach((host, index) => hosts.append(index > 0 ? ", " : "", link(host)));
  hosts.append(element("span", ` → ${site.target}`, "soft"));
  const [words, tone] = STATE[site.state];
  made.append(element("strong", site.name), hosts, element("span", words, `state ${tone}`));
  return made;
}

async function sites() {
  const who = await call("GET", "/whoami");
  if (!who.ok) return;
  by("who").textContent = `${who.data.name} (${who.data.role})`;
  by("login").hidden = true;
  by("logout").hidden = false;
  const { ok, data } = await call("GET", "/sites?limit=100");
  if (!ok) return;
  by("sites").hidden = false;
  by("none").hidden = data.items.length > 0;
  by("more").hidden = !data.next;
  by("list").replaceChildren(...data.items.map(row));
}

by("logout").addEventListener("click", async () => {
  await call("DELETE", "/session");
  location.reload();
});

tunnel();
// Before there is a user, asking who this is would only end as an error in the browser's console.
if (await health()) await sites();
