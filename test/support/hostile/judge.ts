import type { Contract } from "../contract.ts";
import type { HostileRequest, HttpRequest } from "./request.ts";
import type { Reply } from "./send.ts";

/** What only the inside of the service knows: where it failed, what it asked MySQL and Redis, and its keys. */
const INSIDE =
  /\n\s+at .+:\d+:\d+|node_modules|\.[cm]?[jt]s:\d+|\b(select|insert into|update|delete from) `|\bER_[A-Z]|ReplyError|@user_script|WRONGTYPE|ECONN|TypeError|RangeError/;

/** Room for a hundred faults, or for an address that leads nowhere. */
const LONGEST_REFUSAL = 64 * 1024;

/** What is wrong with the answers to a hostile request; undefined when nothing is. */
export function faultOf(
  request: HostileRequest,
  replies: readonly Reply[],
  { contract, secret }: { readonly contract: Contract; readonly secret: string },
): string | undefined {
  for (const reply of replies) {
    const { status, body } = reply;
    if (status >= 500) return `answered ${status}: ${body.slice(0, 500)}`;
    if (request.expected === "unauthorized" && status !== 401 && !isNodesOwn(reply))
      return `answered ${status} without a key`;
    if (request.expected === "refused" && status < 400) return `answered ${status}: ${body.slice(0, 500)}`;
    if (status >= 400 && body.length > LONGEST_REFUSAL) return `refuses with ${body.length} characters`;
    if (status >= 400 && INSIDE.test(body)) return `tells what is inside: ${body.slice(0, 500)}`;
    if (status >= 400 && body.includes(secret)) return `tells a key: ${body.slice(0, 500)}`;
    const misfit = misfitOf(request, reply, contract);
    if (misfit !== undefined) return misfit;
  }
  // Node closes the connection on a head that is too long, and what it says before may not get through.
  if (replies.length === 0 && request.via === "http" && headOf(request) < NODES_LIMIT)
    return "was not answered";
  return undefined;
}

/** Bytes of a request's head that Node reads at most, `--max-http-header-size`. */
const NODES_LIMIT = 16_384;
/** What the client adds to the head, and to each line of it. */
const ADDED = 200;
const ADDED_A_LINE = 4;

function headOf({ path, headers }: HttpRequest): number {
  const lines = Object.entries(headers).map(([name, value]) => name.length + value.length + ADDED_A_LINE);
  return lines.reduce((sum, length) => sum + length, path.length + ADDED);
}

function misfitOf(request: HostileRequest, reply: Reply, contract: Contract): string | undefined {
  const { status, headers, body } = reply;
  const type = headers.get("content-type") ?? "";
  if (isNodesOwn(reply))
    return /^(0\r\n\r\n)?$/.test(body) ? undefined : `refused with a body: ${body.slice(0, 500)}`;
  const isHead = request.via === "http" && request.method === "HEAD";
  try {
    if (status >= 400) {
      if (isBoardError(request, reply) || isConsolePage(request, reply)) return undefined;
      contract.check(isHead ? "HEAD" : "GET", "/nowhere", {
        status,
        headers,
        body: parsed(type, isHead ? "null" : body),
      });
    } else if (request.via === "http" && request.described && status !== 304) {
      const { method, path } = request.described;
      contract.check(isHead ? "HEAD" : method, path, { status, headers, body: parsed(type, body) });
    }
  } catch (error) {
    return String(error);
  }
  return undefined;
}

/** Refused by Node, and not seen by the application, which has a header of its own in every answer. */
function isNodesOwn({ status, headers }: Reply): boolean {
  return status >= 400 && !headers.has("x-content-type-options");
}

/** Bull Board's own API tells errors in its own way, which its page reads. */
function isBoardError(request: HostileRequest, { headers, body }: Reply): boolean {
  const ofBoard = request.via === "http" && /^\/queues\/api(\/|\?|$)/i.test(request.path);
  if (!ofBoard || !headers.get("content-type")?.startsWith("application/json")) return false;
  const answer: unknown = JSON.parse(body === "" ? "{}" : body);
  if (request.method === "HEAD") return true;
  return typeof answer === "object" && answer !== null && "error" in answer;
}

/** The console tells its users in HTML what is wrong. */
function isConsolePage(request: HostileRequest, { headers, body }: Reply): boolean {
  const ofConsole = request.via === "http" && /^\/console(\/|\?|$)/i.test(request.path);
  if (!ofConsole || !headers.get("content-type")?.startsWith("text/html")) return false;
  return request.method === "HEAD" || /^<!doctype html>[^]*<\/html>\s*$/.test(body);
}

function parsed(type: string, body: string): unknown {
  return type.includes("json") ? JSON.parse(body) : body;
}
