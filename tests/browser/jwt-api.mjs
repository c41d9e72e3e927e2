// The example of three sites on one host, as a visitor sees it: the landing page with its frames,
// and the API's own Swagger UI under its path prefix.
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
  await visitLanding(browser);
  await countVisits(browser);
});

async function visitLanding(browser) {
  // With the login of the closed site, as a browser has it after asking.
  const { page, complaints, close } = await openPage(browser, {
    httpCredentials: { username: settings.close.user, password: settings.close.password },
  });
  await page.goto(settings.site);
  const frames = page.locator("iframe");
  assert.equal(await frames.count(), 3);
  for (const [index, text] of ["The quay", "harbour office", "jwt-api"].entries()) {
    await frames.nth(index).scrollIntoViewIfNeeded();
    const frame = frames.nth(index).contentFrame();
    await frame.getByText(text).first().waitFor();
  }
  assertQuiet(complaints, [/status of 401/]);
  await judgeEverywhere(page, "jwt-api-landing", { except: "iframe" });
  await close();
}

async function countVisits(browser) {
  const { page, complaints, close } = await openPage(browser);
  await page.goto(new URL("flask/swagger/", settings.site).href);
  await page.locator(".opblock").first().waitFor();

  const count = await openOperation(page, "GET", "/api/count");
  assert.equal((await execute(count)).status, 401, "nobody counts without a token");

  const login = await openOperation(page, "POST", "/auth/login");
  await login.locator("textarea").fill(JSON.stringify(settings.api));
  const answer = await execute(login);
  assert.equal(answer.status, 200, answer.body);
  const token = JSON.parse(answer.body).access_token;

  await page.locator(".auth-wrapper .authorize.unlocked").first().click();
  const dialog = page.locator(".modal-ux");
  await dialog.locator("input").fill(token);
  await dialog.locator("button.authorize").click();
  await dialog.locator("button.btn-done").click();

  await count.getByRole("button", { name: "Clear" }).click();
  const first = await execute(count);
  assert.equal(first.status, 200, first.body);
  await count.getByRole("button", { name: "Clear" }).click();
  const second = await execute(count);
  assert.equal(JSON.parse(second.body).count, JSON.parse(first.body).count + 1);
  assertQuiet(complaints, [/status of 401/]);
  await close();
}
