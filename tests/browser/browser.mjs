// What the scripts share: a browser, pages that notice every complaint, and screenshots.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The settings that the caller gave: one JSON object. */
export const settings = JSON.parse(process.argv[2]);

/** Runs `visit` with a browser, and closes it whatever happens. */
export async function withBrowser(visit) {
  mkdirSync(settings.pictures, { recursive: true });
  const browser = await chromium.launch({ executablePath: settings.chromium, args: ARGUMENTS });
  try {
    await visit(browser);
  } finally {
    await browser.close();
  }
}

/**
 * Opens a page that keeps what the browser complains about. The local authority's root is not in
 * the browser's store; that its certificates are right is judged elsewhere.
 */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: { width: 1280, height: 800 },
    ...options,
  });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") {
      complaints.push(`console: ${message.text()} (${message.location().url})`);
    }
  });
  return { page, complaints, close: () => context.close() };
}

/** Fails on everything that the browser complained about and that was not expected. */
export function assertQuiet(complaints, expected = []) {
  const rest = complaints.filter((text) => !expected.some((pattern) => pattern.test(text)));
  assert.deepEqual(rest, [], "the browser complains");
}

/** Fails on what keeps people from using a page, `except` for a part that is others' work. */
export async function assertAccessible(page, name, except) {
  const axe = new AxeBuilder({ page });
  if (except) axe.exclude(except);
  const { violations } = await axe
    .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
    .analyze();
  const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  assert.deepEqual(told, [], `${name} is not accessible`);
}

/** Shows a page light and dark, on a phone and on a desk; judges and pictures each. */
export async function judgeEverywhere(page, name, { except } = {}) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const width of [390, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      const view = `${name}-${colorScheme}-${width}`;
      // Colours differ by scheme, structure by neither: one width is judged for both schemes.
      if (width === 390) await assertAccessible(page, view, except);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${view} is ${wide} px wide`);
      await page.screenshot({ path: join(settings.pictures, `${view}.png`), fullPage: true });
    }
  }
}

/** Finds an operation of Swagger UI by method and path, opens it, and returns it. */
export async function openOperation(page, method, path) {
  const block = page.locator(`.opblock-${method.toLowerCase()}`, {
    has: page.locator(`.opblock-summary-path[data-path="${path}"]`),
  });
  await block.locator(".opblock-summary-control").click();
  return block;
}

/** Executes an open operation and returns status and body of the answer. */
export async function execute(block) {
  await block.getByRole("button", { name: "Execute" }).click();
  const answer = block.locator(".live-responses-table .response");
  await answer.waitFor();
  const status = (await answer.locator(".response-col_status").first().innerText()).trim();
  const body = await answer.locator(".highlight-code code").first().innerText();
  return { status: Number.parseInt(status, 10), body };
}
