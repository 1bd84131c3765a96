import { existsSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { chromium, type Browser, type BrowserContextOptions, type Page } from "playwright-core";
import { LOCAL } from "../../tools/launcher/local-folder.ts";
import { makeTempFolder } from "../../tools/launcher/temp-folder.ts";
import {
  canUnpackDebianPackages,
  unpackDebianPackages,
} from "../../tools/launcher/servers/debian-packages.ts";

/** Unpacking the browser takes half a minute, and fetching it what the network takes. */
export const BROWSER_START_MS = 600_000;

/** Generous: it only matters when something is broken. */
const PAGE_TIMEOUT_MS = 60_000;

/** A name under which the browser reaches this machine. */
export const BROWSER_HOST = "conveyor.test";

/** Has the API serve its pages under that name. */
export const SERVED_TO_BROWSER = { PUBLIC_URL: `http://${BROWSER_HOST}` };

const ARGUMENTS = [
  // Its sandbox needs rights that neither root nor a container has; it is shown no page but ours.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-sync",
  "--disable-component-update",
  "--disable-background-networking",
  "--no-first-run",
  // It reaches this machine, under its number and under a name that is not localhost, and nothing else.
  `--host-resolver-rules=MAP ${BROWSER_HOST} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
];

/** A Chromium of its own, without a window and with an empty profile. */
export interface TestBrowser {
  /** Opens a page in a session of its own, which shares neither logins nor caches with others. */
  open(options?: BrowserContextOptions): Promise<WatchedPage>;
  /** Ends it and removes its profile. */
  close(): Promise<void>;
}

export interface WatchedPage {
  readonly page: Page;
  /** What the browser's console has shown as an error, breaches of the page's own security policy among them. */
  readonly errors: readonly string[];
  /** The addresses of all that the page has asked for. */
  readonly requests: readonly string[];
}

/**
 * Starts the Chromium of this machine, or that of Debian's packages, unpacked into `.local` the first time. It ends
 * with this process, however that ends. @throws {Error} when neither can be had.
 */
export async function startBrowser(): Promise<TestBrowser> {
  const { executable, environment } = await findChromium();
  const home = makeTempFolder();
  const browser = await chromium.launch({
    executablePath: executable,
    args: ARGUMENTS,
    env: { PATH: process.env["PATH"], HOME: home, ...environment(home) },
  });
  return {
    open: (options) => openPage(browser, options),
    async close() {
      await browser.close();
      rmSync(home, { recursive: true, force: true });
    },
  };
}

async function openPage(browser: Browser, options?: BrowserContextOptions): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(PAGE_TIMEOUT_MS);
  const page = await context.newPage();
  const errors: string[] = [];
  const requests: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") errors.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("request", (request) => requests.push(request.url()));
  return { page, errors, requests };
}

interface Chromium {
  readonly executable: string;
  /** What it needs in its environment, given a folder to write to. */
  readonly environment: (folder: string) => Record<string, string>;
}

async function findChromium(): Promise<Chromium> {
  const installed = findOnPath("chromium");
  if (installed) return { executable: installed, environment: () => ({}) };
  if (!canUnpackDebianPackages())
    throw new Error("there is no Chromium on this machine: install it, so that `chromium` is on PATH");
  const { root, environment } = await unpackDebianPackages(["chromium"], LOCAL.packages, {
    progress: (text) => process.stderr.write(`test browser: ${text}\n`),
  });
  const executable = path.join(root, "usr/lib/chromium/chromium");
  if (!existsSync(executable))
    throw new Error(
      "this system's chromium package has no Chromium in it: install one, so that it is on PATH",
    );
  return {
    executable,
    environment: (folder) => ({ ...environment, FONTCONFIG_FILE: writeFontConfig(folder, root) }),
  };
}

function findOnPath(program: string): string | undefined {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter);
  return folders.map((folder) => path.join(folder, program)).find((file) => existsSync(file));
}

/** The unpacked libraries look for their configuration in /etc, where a bare machine has none. */
function writeFontConfig(folder: string, root: string): string {
  const file = path.join(folder, "fonts.conf");
  writeFileSync(
    file,
    `<?xml version="1.0"?>
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>${path.join(root, "usr/share/fonts")}</dir>
  <cachedir>${path.join(folder, "fonts")}</cachedir>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <match><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match>
</fontconfig>
`,
  );
  return file;
}
