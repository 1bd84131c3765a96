import { DispatcherUnavailableError } from "../src/engine/ports.ts";

/**
 * First words of Redis' errors while it can serve nobody: it takes no writes (a replica, too few replicas, out
 * of memory, a failing disk), is loading its data or busy, has an incomplete cluster, has lost its scripts with
 * its data, or refuses logins.
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
/**
 * Redis before 7 wraps a script's error: `ERR Error running script (call to f_…): @user_script:9: -OOM command
 * …`.
 */
const WITHIN_SCRIPT = /^ERR .*@user_script: ?\d+: (?:@user_script: ?\d+: )?-?([A-Z]+)\b/;
const TOO_MANY_CLIENTS = /^ERR max number of clients reached/;

/** The errors of ioredis and BullMQ for a missing connection or an unanswered command. */
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
/** How ioredis says that no Sentinel has told it a master, for a connection that does not ask again. */
const NO_SENTINELS = /^All sentinels are unreachable\b/;
/** Too many redirects in a cluster that is changing. */
const TOO_MANY_REDIRECTIONS = /^Too many Cluster redirections\b/;
const CONNECTION_ERRORS = new Set([
  "ClusterAllFailedError",
  "ConnectionClosedError",
  "MaxRetriesPerRequestError",
]);

/**
 * Whether a command failed because Redis is away, or the network to it: a retry makes sense, and no job is at
 * fault. The command may still have taken effect.
 *
 * Recognized by name and message, since a copied error may have lost its class. A plain system error such as
 * ECONNREFUSED does not count: ioredis emits these only as `error` events, so it comes from a connection to
 * another service.
 */
export function isRedisUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const { name, message } = error;
  if (error instanceof DispatcherUnavailableError) return true;
  if (name === "ReplyError") return isUnavailableReply(error);
  return (
    CONNECTION_ERRORS.has(name) ||
    CONNECTION_MESSAGES.has(message) ||
    TOO_MANY_REDIRECTIONS.test(message) ||
    NO_SENTINELS.test(message)
  );
}

/** Why a cluster could not be connected to: the error of the last node that was asked. Other errors are their own reason. */
export function reasonOf(error: unknown): unknown {
  return error instanceof Error && "lastNodeError" in error && error.lastNodeError instanceof Error
    ? error.lastNodeError
    : error;
}

/** Whether Redis is a replica, which takes no writes. */
export function isReadOnlyReply(error: Error): boolean {
  return error.name === "ReplyError" && firstWord(error.message) === "READONLY";
}

/** Whether it is the answer to SELECT. */
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
  // A transaction was aborted because of its commands' errors.
  const previous = word === "EXECABORT" && "previousErrors" in error ? error.previousErrors : undefined;
  return Array.isArray(previous) && previous.some((each) => isRedisUnavailable(each));
}
