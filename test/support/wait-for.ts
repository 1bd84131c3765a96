import { setTimeout as sleep } from "node:timers/promises";

/** Milliseconds. */
const POLL_INTERVAL_MS = 20;

/**
 * Asks again and again until there is an answer other than undefined or false, and gives it. Fails with `what` when
 * there is none in time: the limit is generous, since it only matters when something is broken.
 *
 * @param options `everyMs`: more than the usual 20 for a question that costs this process, or a server, much
 */
export async function waitFor<T>(
  what: string,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  { timeoutMs = 60_000, everyMs = POLL_INTERVAL_MS } = {},
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await sleep(everyMs);
  }
}
