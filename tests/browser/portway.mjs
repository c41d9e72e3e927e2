// Portway's own pages: the first administrator by the set-up link, the start page, the login, and
// the API's Swagger UI.
import assert from "node:assert/strict";
import {
  assertQuiet,
  execute,
  judgeEverywhere,
  openOperation,
  openPage,
  settings,
  withBrowser,
} from "./browser.mjs";

await withBrowser(async (browser) => {
  const { page, complaints, close } = await openPage(browser);
  await page.goto(settings.portway);
  await page.getByRole("heading", { name: "One step is left" }).waitFor();
  await judgeEverywhere(page, "start-fresh");

  await setUp(page, complaints);
  await page.getByRole("link", { name: "To the start page" }).click();
  await page.getByText(settings.admin.name).first().waitFor();
  await page.getByText("shop").first().waitFor();
  await judgeEverywhere(page, "start");
  await tryTheApi(page);
  assertQuiet(complaints);
  await close();

  await logIn(browser);
  await usedLink(browser);
});

async function setUp(page, complaints) {
  await page.goto(settings.link);
  await page.getByRole("heading", { name: "Set up Portway" }).waitFor();
  assert.ok(!page.url().includes("token"), "the token is taken out of the address");
  await judgeEverywhere(page, "setup");

  await page.getByLabel("Name", { exact: true }).fill(settings.admin.name);
  await page.getByLabel("Password", { exact: true }).fill("password1234");
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await page.getByRole("alert").waitFor();
  await judgeEverywhere(page, "setup-refused");
  // The browser writes every refused request into its console.
  assertQuiet(complaints.splice(0), [/status of 422/]);

  await page.getByLabel("Password", { exact: true }).fill(settings.admin.password);
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await page.getByRole("heading", { name: "Welcome" }).waitFor();
  await judgeEverywhere(page, "setup-done");
}

async function tryTheApi(page) {
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.goto(new URL("/api/docs/", settings.portway).href);
  await page.locator(".opblock").first().waitFor();
  const health = await openOperation(page, "GET", "/api/v1/health");
  const tryIt = health.getByRole("button", { name: "Try it out" });
  if (await tryIt.isVisible()) await tryIt.click();
  const answer = await execute(health);
  assert.equal(answer.status, 200, answer.body);
  assert.equal(JSON.parse(answer.body).set_up, true);
}

async function logIn(browser) {
  const { page, complaints, close } = await openPage(browser);
  await page.goto(new URL("/login", settings.portway).href);
  await judgeEverywhere(page, "login");
  await page.getByLabel("Name", { exact: true }).fill(settings.admin.name);
  await page.getByLabel("Password", { exact: true }).fill("wrong, certainly");
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("alert").waitFor();
  assertQuiet(complaints.splice(0), [/status of 401/]);
  await page.getByLabel("Password", { exact: true }).fill(settings.admin.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("button", { name: "Log out" }).click();
  await page.getByRole("link", { name: "Log in" }).waitFor();
  assertQuiet(complaints, [/status of 401/]);
  await close();
}

async function usedLink(browser) {
  const { page, close } = await openPage(browser);
  await page.goto(settings.link);
  await page.getByRole("heading", { name: "This link opens nothing" }).waitFor();
  await judgeEverywhere(page, "setup-expired");
  await close();
}
