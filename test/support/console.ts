import { appendFileSync, mkdirSync } from "node:fs";
import path from "node:path";
import type { Page } from "playwright-core";
import { BROWSER_HOST, type TestBrowser, type WatchedPage } from "./browser.ts";
import { TEST_KEY } from "./processes.ts";

/** Where pictures of the pages go, for people to look at; without it none are made. */
const PICTURES = process.env["CONSOLE_PICTURES"];

/** The console as an operator's browser sees it. */
export class ConsoleVisitor {
  readonly #browser: TestBrowser;
  /** Without TLS, and not localhost: then browsers say least of where a request comes from. */
  readonly url: string;

  constructor(browser: TestBrowser, apiUrl: string) {
    this.#browser = browser;
    this.url = apiUrl.replace("127.0.0.1", BROWSER_HOST);
  }

  /** Opens a page of the console, in a session of its own, as the operator `ada`. */
  async open(address: string, options: Parameters<TestBrowser["open"]>[0] = {}): Promise<WatchedPage> {
    const httpCredentials = { username: "ada", password: TEST_KEY };
    const watched = await this.#browser.open({ httpCredentials, ...options });
    await this.go(watched.page, address);
    return watched;
  }

  async go(page: Page, address: string): Promise<void> {
    await page.goto(`${this.url}/console${address}`);
  }
}

/** Makes a picture of the whole page, if pictures are wanted. */
export async function takePicture(page: Page, name: string): Promise<void> {
  if (PICTURES === undefined) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: path.join(PICTURES, `${name.replaceAll(" ", "-")}.png`), fullPage: true });
}

/** Writes down what was measured, where pictures are wanted. */
export function takeNote(text: string): void {
  if (PICTURES === undefined) return;
  mkdirSync(PICTURES, { recursive: true });
  appendFileSync(path.join(PICTURES, "notes.txt"), `${text}\n`);
}
