import type { ListenAddress } from "../provider-server.ts";
import { ProviderServer } from "../provider-server.ts";
import type { Fault } from "../fault.ts";
import { EasyPost, type EasyPostOptions } from "./easypost.ts";

/** The simulated EasyPost, over HTTP. */
export interface EasyPostServer {
  /** For the client's `baseUrl`. */
  readonly baseUrl: string;
  /** Without a path, for `PUT /fault`, `/behaviour`, `/clock` and `/parcels/:code`. */
  readonly url: string;
  readonly easypost: EasyPost;
  readonly setFault: (fault: Fault) => void;
  readonly close: () => Promise<void>;
}

/** Starts it. @throws {StartupError} if it can't listen */
export async function startEasyPost(
  options: EasyPostOptions & {
    readonly listen?: ListenAddress;
    readonly latencyMs?: number;
    /** An endpoint that is registered from the start. */
    readonly webhook?: { readonly url: string; readonly secret: string | null };
  } = {},
): Promise<EasyPostServer> {
  const { listen = { port: 0, host: "127.0.0.1", variable: "the port" }, latencyMs = 0 } = options;
  const easypost = new EasyPost(options);
  if (options.webhook) {
    const id = "hook_0";
    easypost.webhooks.endpoints.set(id, { id, ...options.webhook, at: easypost.now(), headers: [] });
  }
  const server = new ProviderServer({
    handle: (call) => easypost.handle(call),
    beforeAnswer: () => easypost.webhooks.early(),
    orderOf: (call) => easypost.orderOf(call),
    isUnanswered: (call) => easypost.isUnanswered(call),
    countAttempt: () => 1,
    poisonOf: () => undefined,
    random: options.random ?? Math.random,
    latencyMs,
    ledger: () => ({ labels: easypost.bought }),
  });
  const url = await server.listen(listen);
  easypost.labelsUrl = url;
  return {
    baseUrl: `${url}/v2/`,
    url,
    easypost,
    setFault(fault) {
      server.fault = fault;
    },
    async close() {
      await Promise.all([server.close(), easypost.close()]);
    },
  };
}
