import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { freePort } from "../../tools/launcher/ports.ts";
import { BASIC } from "../support/api.ts";
import { startBalancer } from "../support/balancer.ts";
import { BROWSER_HOST, BROWSER_START_MS, startBrowser, type TestBrowser } from "../support/browser.ts";
import { PLAIN_ORDER, TestClient } from "../support/client.ts";
import { createTestEnvironment, type TestEnvironment } from "../support/environment.ts";
import { PROXY_START_MS, startNginx } from "../support/nginx.ts";
import { startApi, startWorker, TEST_KEY, untilLogged, type TestProcess } from "../support/processes.ts";
import { waitFor } from "../support/wait-for.ts";

type Api = TestProcess & { readonly url: string };

let environment: TestEnvironment;
/** Ended after the tests, the last first. */
const started: { stop(): Promise<unknown> }[] = [];
beforeAll(async () => {
  environment = await createTestEnvironment();
});
afterAll(async () => {
  for (const each of started.toReversed()) await each.stop();
  await environment.close();
});

async function serve(env: Record<string, string>): Promise<Api> {
  const api = await startApi({ ...environment, env });
  started.push(api);
  return api;
}

async function proxy(http: string, port: number): Promise<void> {
  started.push(await startNginx(http, port));
}

/** As a browser sends a form, without TLS and from a page of this origin. */
function post(url: string, origin: string): Promise<Response> {
  return fetch(url, {
    method: "POST",
    redirect: "manual",
    headers: { ...BASIC, origin, "content-type": "application/x-www-form-urlencoded" },
    body: "reason=by mistake",
  });
}

describe("nginx that serves it below a path, under another name", () => {
  let api: Api;
  /** The one that takes the path away and rewrites `Host`, as `proxy_pass` does by default. */
  let rewriting: string;
  /** The one that passes both on. */
  let passing: string;
  beforeAll(async () => {
    const [first, second] = [await freePort(), await freePort()];
    rewriting = `http://${BROWSER_HOST}:${first}/shop/conveyor`;
    passing = `http://${BROWSER_HOST}:${second}/shop/conveyor`;
    api = await serve({ PUBLIC_URL: `${rewriting}/` });
    await proxy(
      `server {
        listen 127.0.0.1:${first};
        location /shop/conveyor/ { proxy_pass ${api.url}/; }
      }
      server {
        listen 127.0.0.1:${second};
        location /shop/conveyor/ { proxy_pass ${api.url}; proxy_set_header Host $http_host; }
      }`,
      second,
    );
  }, PROXY_START_MS);

  /** What this machine reaches instead of the name that only the browser knows. */
  const reached = (url: string) => url.replace(BROWSER_HOST, "127.0.0.1");
  const both = [
    ["takes the path away and rewrites Host", () => rewriting],
    ["passes on both", () => passing],
  ] as const;

  test.each(both)("and %s: every link on every page leads to something", async (_name, urlOf) => {
    const url = new URL(reached(urlOf()));
    const client = new TestClient(url.href);
    await client.order(PLAIN_ORDER);
    const seen = new Map<string, number>();
    const open = [`${url.pathname}/console`, `${url.pathname}/docs`, `${url.pathname}/queues`];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (seen.has(next)) continue;
      const answer = await fetch(new URL(next, url), { headers: BASIC });
      seen.set(next, answer.status);
      const page = await answer.text();
      if (!answer.headers.get("content-type")?.startsWith("text/html")) continue;
      const links = [...page.matchAll(/\s(?:href|src|hx-get|data-history|data-stream)="(\/?[^":#?]*)/g)];
      const base = /<base href="([^"]*)"/.exec(page)?.[1] ?? next;
      open.push(
        ...links
          .filter(([, link]) => link !== "" && !link!.endsWith("/stream"))
          .map(([, link]) => new URL(link!, new URL(base, url)).pathname),
      );
    }
    expect([...seen].filter(([link, status]) => status !== 200 || !link.startsWith(url.pathname))).toEqual(
      [],
    );
    expect([...seen.keys()].map((link) => link.slice(url.pathname.length))).toEqual(
      expect.arrayContaining([
        "/console/assets/console.js",
        "/docs/assets/swagger-ui.css",
        "/console/orders",
        "/console/stock",
      ]),
    );
    expect((await client.get<{ servers: unknown }>("/openapi.json")).body.servers).toEqual([
      { url: `${url.pathname}/` },
    ]);
  });

  test.each(both)("and %s: forms are taken from its pages, and from no others", async (_name, urlOf) => {
    const url = urlOf();
    const { id } = await new TestClient(reached(url)).order(PLAIN_ORDER);
    const form = `${reached(url)}/console/orders/${id}/cancel`;
    // With Host, as a browser has it under the proxy's name.
    const answer = await fetch(form, {
      method: "POST",
      redirect: "manual",
      headers: {
        ...BASIC,
        origin: new URL(urlOf === both[0][1] ? url : reached(url)).origin,
        "content-type": "application/x-www-form-urlencoded",
      },
      body: "reason=by mistake",
    });
    expect([answer.status, answer.headers.get("location")]).toEqual([
      303,
      expect.stringMatching(new RegExp(`/shop/conveyor/console/orders/${id}$`)),
    ]);
    expect((await post(form, "http://evil.example")).status).toBe(403);
  });

  describe("in a browser", () => {
    let browser: TestBrowser;
    beforeAll(async () => {
      browser = await startBrowser();
    }, BROWSER_START_MS);
    afterAll(() => browser.close());

    test("nine pages of orders, more than it opens connections, follow their orders", async () => {
      const client = new TestClient(api.url);
      const ids: string[] = [];
      while (ids.length < 9) ids.push((await client.order(PLAIN_ORDER)).id);
      const { page, errors } = await browser.open({
        httpCredentials: { username: "ada", password: TEST_KEY },
      });
      const pages = [page];
      while (pages.length < ids.length) pages.push(await page.context().newPage());
      for (const [index, each] of pages.entries()) {
        await each.goto(`${rewriting}/console/orders/${ids[index]}`);
        await each.locator("#follow").waitFor({ state: "attached" });
        await each.evaluate(
          "window.moves = 0; document.addEventListener('moved', () => window.moves++, true)",
        );
      }

      await client.put("/stock/MUG-BLUE", { onHand: 1_000 });
      started.push(await startWorker(environment));
      for (const each of pages) {
        await each.locator("#live .badge", { hasText: "DELIVERED" }).first().waitFor();
        // Not only because it asks every other second.
        expect(await each.evaluate("window.moves")).toBeGreaterThan(0);
      }
      expect(errors).toEqual([]);
      await page.context().close();
    }, 180_000);

    test("a form of the console is sent, and leads on below the path", async () => {
      const { page } = await browser.open({ httpCredentials: { username: "ada", password: TEST_KEY } });
      await page.goto(`${passing}/console/webhooks`);
      await page.goto(`${rewriting}/console/queues`);
      await page.getByRole("button", { name: /pause/i }).first().click();
      await page
        .getByRole("button", { name: /resume|unpause/i })
        .first()
        .waitFor();
      expect(page.url()).toContain(`${rewriting}/console/queues`);
      await page
        .getByRole("button", { name: /resume|unpause/i })
        .first()
        .click();
      await page.context().close();
    });
  });
});

test(
  "nginx whose X-Forwarded-Host is trusted says under which name a page was asked for",
  async () => {
    const port = await freePort();
    const trusting = await serve({ TRUST_PROXY: "loopback" });
    const wary = await serve({});
    const server = (listen: number, url: string) => `server {
    listen 127.0.0.1:${listen};
    location / { proxy_pass ${url}; proxy_set_header X-Forwarded-Host $http_host; }
  }`;
    const second = await freePort();
    await proxy(server(port, trusting.url) + server(second, wary.url), second);

    const statusOf = async (through: number) =>
      (await post(`http://127.0.0.1:${through}/console/queues/pay/pause`, `http://127.0.0.1:${through}`))
        .status;
    expect(await statusOf(port)).toBe(303);
    expect(await statusOf(second)).toBe(403);
  },
  PROXY_START_MS,
);

test(
  "no request through a load balancer that checks fails while one of two API processes is stopped",
  async () => {
    const env = { SHUTDOWN_DELAY_MS: "3000" };
    const [first, second] = [await serve(env), await serve(env)];
    const port = await freePort();
    started.push(await startBalancer(port, [first.url, second.url]));
    const client = new TestClient(`http://127.0.0.1:${port}`);
    const statuses = new Map<number, number>();
    const stop = new AbortController();
    const busy = Array.from({ length: 16 }, async () => {
      while (!stop.signal.aborted) {
        const { status } = await client.post("/orders", PLAIN_ORDER);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    });
    await waitFor("orders to come", () => (statuses.get(202) ?? 0) > 20);
    first.process.kill("SIGTERM");
    await untilLogged(first, "shutting down");
    expect(await first.process.exited).toEqual({ code: 0, signal: null });
    const atEnd = statuses.get(202) ?? 0;
    await waitFor("orders to go on", () => (statuses.get(202) ?? 0) > atEnd + 20);
    stop.abort();
    await Promise.all(busy);
    expect([...statuses.keys()]).toEqual([202]);
  },
  PROXY_START_MS,
);
