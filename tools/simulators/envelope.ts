import type { IncomingHttpHeaders } from "node:http";
import { Webhook } from "standardwebhooks";
import { problem, type Answer, type Call } from "./call.ts";

const UP: Answer = { status: 200, body: { status: "up" } };

/**
 * Answers calls as docs/providers.md says: those to any other path, without a key, or, where there are secrets, without the
 * signature of one of them, never reach the provider.
 */
export function inEnvelope(
  handle: (call: Call & { readonly key: string }) => Answer,
  secrets: readonly string[] | undefined,
): (call: Call) => Answer {
  return (call) => {
    const { method, path, key } = call;
    if (path !== "/") return problem(404, "there is only /");
    if (method === "GET") return UP;
    if (key === undefined) return problem(400, "webhook-id is missing");
    if (secrets !== undefined && !isSigned(call, secrets))
      return problem(401, "the signature is missing or wrong");
    return handle({ ...call, key });
  };
}

function isSigned({ text, headers }: Call, secrets: readonly string[]): boolean {
  return secrets.some((secret) => {
    try {
      new Webhook(secret).verify(text ?? "", single(headers), { jsonParse: false });
      return true;
    } catch {
      return false;
    }
  });
}

function single(headers: IncomingHttpHeaders = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (typeof value === "string" ? [[name, value]] : [])),
  );
}
