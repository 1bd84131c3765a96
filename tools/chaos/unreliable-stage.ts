import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import path from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { readConfigFile } from "../../src/composition/config-file.ts";
import { usePipeline } from "../../src/order/lifecycle.ts";
import { PROJECT_FOLDER } from "../launcher/local-folder.ts";
import { freePort } from "../launcher/ports.ts";
import { between, stream } from "./random.ts";
import { Supervised } from "./supervised.ts";

const TIMEOUT_MS = 2_000;
const SLOW_MS = [300, 1_200] as const;
/** After Conveyor has given up. */
const LATE_MS = [2_000, 10_000] as const;
/** What becomes of a request on its way, in tenths: the rest are left alone. */
const TREATMENTS = ["slow", "doubled", "late answer", "late request"] as const;
type Treatment = (typeof TREATMENTS)[number] | "none";

const sentBody = z.object({
  operation: z.string(),
  attempt: z.number(),
  order: z.object({ reference: z.string() }),
});

const stageBooks = z.object({
  effects: z.array(z.tuple([z.string(), z.enum(["run", "undo", "refused"])])),
  callbacks: z.array(z.number()),
});
/** What the service did for which order, oldest first, and the answers to its callbacks (0: none). */
export type StageBooks = z.infer<typeof stageBooks>;

/** An HTTP stage in Python behind a network that treats it badly. */
export interface UnreliableStage {
  readonly process: Supervised;
  /** What the service's processes need to have the stage in their pipeline. */
  readonly env: Readonly<Record<string, string>>;
  /** How many requests were treated how. */
  readonly treated: ReadonlyMap<Treatment, number>;
  /** The service must be up. @throws {Error} */
  readBooks(): Promise<StageBooks>;
  close(): Promise<void>;
}

/** Starts it, and has this process use the pipeline with it. Its files lie in the folder. @throws {Failure} */
export async function startUnreliableStage(folder: string, seed: number): Promise<UnreliableStage> {
  const secret = `whsec_${randomBytes(32).toString("base64")}`;
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const service = new Supervised({
    name: "stage",
    command: "python3",
    args: [path.join(import.meta.dirname, "unreliable_stage.py")],
    cwd: PROJECT_FOLDER,
    env: {
      PATH: process.env["PATH"],
      SIGNING_SECRET: secret,
      PORT: String(port),
      STATE: path.join(folder, "stage.sqlite3"),
      PYTHONDONTWRITEBYTECODE: "1",
    },
    logFile: path.join(folder, "stage.log"),
    clockFile: path.join(folder, "stage.clock"),
    readyMessage: "listening",
    needs: () => [],
  });
  const treated = new Map<Treatment, number>();
  const network = createServer((request, response) => {
    void pass(request, response).catch(() => response.destroy());
  });

  async function pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await buffer(request);
    const headers = Object.entries(request.headers).filter(([name]) =>
      /^(webhook|conveyor)-|^content-type$/.test(name),
    );
    const send = () =>
      fetch(url, {
        method: request.method ?? "GET",
        headers: headers.map(([name, value]): [string, string] => [name, String(value)]),
        ...(body.length > 0 && { body }),
      });
    if (request.method !== "POST") return answer(response, await send());
    const { operation, attempt, order } = sentBody.parse(JSON.parse(body.toString()));
    const random = stream(seed, `${order.reference} ${operation} ${attempt}`);
    const treatment = TREATMENTS[random.below(10)] ?? "none";
    treated.set(treatment, (treated.get(treatment) ?? 0) + 1);
    if (treatment === "late request") await delay(between(random, LATE_MS));
    // The second one may arrive first, and both at once.
    if (treatment === "doubled") void send().catch(() => undefined);
    const answered = await send();
    if (treatment === "slow") await delay(between(random, SLOW_MS));
    if (treatment === "late answer") await delay(between(random, LATE_MS));
    await answer(response, answered);
  }

  service.start();
  const entrance = await freePort();
  network.listen(entrance, "127.0.0.1");
  const close = async () => {
    network.closeAllConnections();
    await new Promise((resolve) => network.close(resolve));
    await service.stop();
  };
  try {
    await service.ready();
    const file = path.join(folder, "conveyor.config.json");
    const http = {
      name: "credit-check",
      to: "CHECKED",
      url: `http://127.0.0.1:${entrance}/`,
      undo: true,
      timeout: TIMEOUT_MS,
      attempts: 20,
      backoff: { delay: 300, jitter: 0.5 },
    };
    writeFileSync(file, JSON.stringify({ pipeline: ["reserve", { http }, "pay", "ship", "deliver"] }));
    const env = { CONVEYOR_CONFIG: file, SIGNING_SECRET: secret };
    usePipeline((await readConfigFile(env)).stages);
    return {
      process: service,
      env,
      treated,
      readBooks: async () => stageBooks.parse(await (await fetch(`${url}/books`)).json()),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function answer(response: ServerResponse, answered: Response): Promise<void> {
  const retryAfter = answered.headers.get("retry-after");
  response.writeHead(answered.status, {
    "content-type": "application/json",
    ...(retryAfter !== null && { "retry-after": retryAfter }),
  });
  response.end(await answered.text());
}
