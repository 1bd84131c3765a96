/*
 * A stage of Conveyor in TypeScript, as a service of its own. It refuses large orders.
 *
 *     SIGNING_SECRET=whsec_... PORT=8080 node --import tsx examples/stage.ts
 *
 * docs/http-stages.md is the contract. SIGNING_SECRET may be several secrets, separated by spaces, while one is replaced.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";

interface Asked {
  readonly operation: "run" | "undo";
  readonly order: { readonly total: number };
}

/** Keep them in your database, in the transaction of what the stage does: here they are lost with the process. */
const answers = new Map<string, object>();
const secrets = (process.env["SIGNING_SECRET"] ?? "").split(" ").map((secret) => new Webhook(secret));

/** The business. */
function check({ total }: Asked["order"]): object {
  return total > 500_000 ? { reject: "too large" } : { done: { owed: total } };
}

/** The same key gets the same answer, and an undo wins over its run, whichever comes first. */
function answer(key: string, { operation, order }: Asked): [number, object] {
  if (operation === "run" && answers.has(`${key}:undo`)) return [410, {}];
  const made = answers.get(key) ?? (operation === "undo" ? { done: {} } : check(order));
  answers.set(key, made);
  return [200, made];
}

/** By Standard Webhooks, over the bytes as they came, within the last five minutes. */
function isSigned({ headers }: IncomingMessage, body: string): boolean {
  const given = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
  return secrets.some((secret) => {
    try {
      secret.verify(body, given, { jsonParse: false });
      return true;
    } catch {
      return false;
    }
  });
}

async function take(request: IncomingMessage): Promise<[number, object]> {
  const body = await text(request);
  if (request.method !== "POST") return [405, {}];
  if (!isSigned(request, body)) return [401, {}];
  try {
    return answer(String(request.headers["webhook-id"]), JSON.parse(body));
  } catch {
    return [400, {}];
  }
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [status, made] = await take(request);
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(made));
}

const server = createServer((request, response) => void serve(request, response));
server.listen(Number(process.env["PORT"] ?? 8080), "127.0.0.1");
