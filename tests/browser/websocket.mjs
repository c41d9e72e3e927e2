// A page that came over HTTP/2 and opens a WebSocket: the browser makes a connection over HTTP/1.1 for
// it by itself, agrees on compression with the application, and hears how the application closes.
import assert from "node:assert/strict";
import { assertQuiet, openPage, settings, withBrowser } from "./browser.mjs";

await withBrowser(async (browser) => {
  const { page, complaints, close } = await openPage(browser);
  await page.goto(`https://${settings.site}`);
  const navigation = () => performance.getEntriesByType("navigation")[0].nextHopProtocol;
  assert.equal(await page.evaluate(navigation), "h2");

  const told = await page.evaluate(talk, `wss://${settings.site}ws`);

  assert.equal(told.extensions, "permessage-deflate");
  assert.deepEqual(told.lengths, [5, 0, 300000]);
  assert.ok(told.same, "what came back is what was sent");
  assert.deepEqual(told.closed, { code: 3001, reason: "enough", clean: true });
  assertQuiet(complaints);
  await close();
});

// Runs in the page.
async function talk(url) {
  const sent = ["hello", "", "long ".repeat(60000)];
  const socket = new WebSocket(url);
  const back = [];
  const hearing = new Promise((resolve) => {
    socket.onmessage = ({ data }) => back.push(data) === sent.length && resolve();
    socket.onclose = ({ code }) => resolve(code);
  });
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("the WebSocket does not open"));
  });
  sent.forEach((message) => socket.send(message));
  await hearing;
  const closed = new Promise((resolve) => {
    socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, clean: wasClean });
  });
  socket.close(3001, "enough");
  return {
    extensions: socket.extensions.split(";")[0],
    lengths: back.map((message) => message.length),
    same: back.every((message, index) => message === sent[index]),
    closed: await closed,
  };
}
