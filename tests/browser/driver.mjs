// A person at a browser, driven over standard input: one JSON command a line, one JSON answer a line. Used by tests/support/browser.py.
import { createInterface } from "node:readline";
import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const executablePath = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const resolver = process.env.BROWSER_RESOLVER; // host names of a test, whose certificate nobody signed
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    ...(resolver ? [`--host-resolver-rules=${resolver}`, "--ignore-certificate-errors"] : [])],
});
const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ignoreHTTPSErrors: Boolean(resolver) });
const page = await context.newPage();
const seen = [];
page.on("framenavigated", (frame) => { if (frame === page.mainFrame()) seen.push(frame.url()); });

async function palette(text) {
  await page.keyboard.press("F1");
  await page.locator(".quick-input-widget input").first().waitFor({ state: "visible", timeout: 20000 });
  await page.keyboard.type(text, { delay: 10 });
  await page.locator(".quick-input-list .monaco-list-row").first().waitFor({ timeout: 20000 });
  await page.keyboard.press("Enter");
}

const actions = {
  // Opens a URL and answers what is there.
  async open({ url }) {
    const response = await page.goto(url, { waitUntil: "domcontentloaded", timeout: 120000 });
    return { status: response?.status(), url: page.url(), title: await page.title(), text: (await page.innerText("body")).slice(0, 2000) };
  },
  async workbench({ timeout = 60000 }) {
    await page.locator(".monaco-workbench").waitFor({ timeout });
    await page.locator(".explorer-folders-view, .explorer-viewlet").first().waitFor({ timeout });
    return { url: page.url() };
  },
  // Types a line into VS Code's integrated terminal (opened if it is not).
  async terminal({ line }) {
    if (await page.locator(".terminal-wrapper .xterm").count() === 0) {
      await palette(">Terminal: Create New Terminal");
      await page.locator(".terminal-wrapper .xterm").first().waitFor({ timeout: 60000 });
      await page.locator(".xterm-rows, .xterm-screen").first().waitFor();
      await page.waitForTimeout(1000); // the shell's prompt has no mark of its own to wait for
    }
    await page.locator(".terminal-wrapper .xterm-helper-textarea").first().focus();
    await page.keyboard.type(line + "\n", { delay: 5 });
    return {};
  },
  // Opens a file by its name, replaces its text and saves it.
  async edit({ file, text }) {
    await page.keyboard.press("Control+P");
    await page.locator(".quick-input-widget input").first().waitFor({ state: "visible" });
    await page.keyboard.type(file, { delay: 10 });
    await page.locator(`.quick-input-list .monaco-list-row:has-text("${file}")`).first().waitFor({ timeout: 20000 });
    await page.keyboard.press("Enter");
    await page.locator(`.tab.active:has-text("${file}")`).first().waitFor({ timeout: 20000 });
    await page.locator(".editor-instance .view-lines").first().click();
    await page.keyboard.press("Control+A");
    await page.keyboard.type(text, { delay: 5 });
    await page.keyboard.press("Control+S");
    await page.locator(".tab.active.dirty").waitFor({ state: "detached", timeout: 20000 });
    return {};
  },
  // Opens a file by its name and waits until the editor shows a text.
  async shows({ file, text }) {
    await page.keyboard.press("Control+P");
    await page.locator(".quick-input-widget input").first().waitFor({ state: "visible" });
    await page.keyboard.type(file, { delay: 10 });
    await page.locator(`.quick-input-list .monaco-list-row:has-text("${file}")`).first().waitFor({ timeout: 60000 });
    await page.keyboard.press("Enter");
    await page.locator(".editor-instance .view-lines").getByText(text).first().waitFor({ timeout: 60000 });
    return {};
  },
  // Waits until VS Code says nothing of a lost connection.
  async connected({ timeout = 60000 }) {
    const lost = page.locator('.notifications-toasts:has-text("reconnect"), .monaco-dialog-box:has-text("reconnect"), .statusbar-item:has-text("Disconnected")');
    const deadline = Date.now() + timeout;
    while (await lost.count() > 0) {
      if (Date.now() > deadline) throw new Error("still disconnected");
      const now = page.getByRole("button", { name: /reconnect now/i });
      if (await now.count() > 0) await now.first().click().catch(() => {});
      await page.waitForTimeout(200);
    }
    return {};
  },
  async evaluate({ script }) { return { value: await page.evaluate(script) }; },
  async navigations() { return { urls: seen }; },
  async cookies() { return { cookies: await context.cookies() }; },
  async screenshot({ path }) { await page.screenshot({ path }); return {}; },
  async close() { await browser.close(); process.exit(0); },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { action, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { ok: true, ...(await actions[action](rest)) };
  } catch (error) {
    answer = { ok: false, error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
