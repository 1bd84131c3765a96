import { DispatcherUnavailableError } from "../src/engine/ports.ts";

/**
 * What Redis answers, in the first word, while it cannot do the work of anybody: it takes no writes (a replica, too few
 * replicas, out of memory, a disk that fails), it is loading its data or busy, its cluster is incomplete, it has lost
 * its scripts with its data, or it lets nobody in.
 */
const UNAVAILABLE_REPLIES = new Set([
  "BUSY",
  "CLUSTERDOWN",
  "LOADING",
  "MASTERDOWN",
  "MISCONF",
  "NOAUTH",
  "NOPERM",
  "NOREPLICAS",
  "NOSCRIPT",
  "OOM",
  "READONLY",
  "TRYAGAIN",
  "UNBLOCKED",
  "WRONGPASS",
]);
const FIRST_WORD = /^([A-Z]+)\b/;
/** Redis before 7 wraps what a script met: `ERR Error running script (call to f_…): @user_script:9: -OOM command …`. */
const WITHIN_SCRIPT = /^ERR .*@user_script: ?\d+: (?:@user_script: ?\d+: )?-?([A-Z]+)\b/;
const TOO_MANY_CLIENTS = /^ERR max number of clients reached/;

/** What ioredis and BullMQ say of a connection that is not there, or of a command that nobody answered. */
const CONNECTION_MESSAGES = new Set([
  "Cluster is disconnected.",
  "Cluster is disconnecting.",
  "Cluster is ended.",
  "Cluster isn't ready and enableOfflineQueue options is false",
  "Command aborted due to connection close",
  "Command timed out",
  "Connection is closed.",
  "Node is disconnected",
  "None of startup nodes is available",
  "Stream isn't writeable and enableOfflineQueue options is false",
]);
/** It has been sent from node to node of a cluster that is about to change. */
const TOO_MANY_REDIRECTIONS = /^Too many Cluster redirections\b/;
const CONNECTION_ERRORS = new Set([
  "ClusterAllFailedError",
  "ConnectionClosedError",
  "MaxRetriesPerRequestError",
]);

/**
 * Whether a command failed because Redis, or the way there, is away for everybody: trying again later makes sense, and
 * it is nobody's failed attempt. The command may have taken effect all the same.
 *
 * Told by name and text, as far as these are ioredis' own, since an error may have been copied without its class. A
 * bare system error such as ECONNREFUSED does not count: ioredis keeps these to its `error` event, so that one here
 * comes from a connection to somebody else.
 */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { name, message } = error;
  if (error instanceof DispatcherUnavailableError) return true;
  if (name === "ReplyError") return isUnavailableReply(error);
  return (
    CONNECTION_ERRORS.has(name) || CONNECTION_MESSAGES.has(message) || TOO_MANY_REDIRECTIONS.test(message)
  );
}

/** Whether Redis answered that it is a replica, which takes no writes. */
export function isReadOnlyReply(error: Error): boolean {
  return error.name === "ReplyError" && firstWord(error.message) === "READONLY";
}

/** Whether it is what Redis answered to SELECT. */
export function isOfSelect(error: unknown): error is Error {
  if (!(error instanceof Error) || !("command" in error)) return false;
  const { command } = error;
  return typeof command === "object" && command !== null && "name" in command && command.name === "select";
}

function firstWord(message: string): string {
  return (WITHIN_SCRIPT.exec(message) ?? FIRST_WORD.exec(message))?.[1] ?? "";
}

function isUnavailableReply(error: Error): boolean {
  const word = firstWord(error.message);
  if (UNAVAILABLE_REPLIES.has(word) || TOO_MANY_CLIENTS.test(error.message)) return true;
  // A transaction is given up because of what its commands met.
  const previous = word === "EXECABORT" && "previousErrors" in error ? error.previousErrors : undefined;
  return Array.isArray(previous) && previous.some((each) => isRedisUnavailable(each));
}
