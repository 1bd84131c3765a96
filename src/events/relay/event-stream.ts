import type { Redis } from "ioredis";
import { entryId, eventIdOf, streamOf, streamTokenOf } from "../stream.ts";

/** A message with the id of its event. */
export interface StreamedMessage {
  readonly id: number;
  readonly message: string;
}

/** Somebody else feeds the stream, or it is not as it was left: Redis has lost some of it, or all. */
export class StreamChangedError extends Error {
  override name = "StreamChangedError";
}

/**
 * The stream as the worker sees it that feeds it. Whatever it does is one script, which does nothing unless the stream ends
 * where the worker thinks, and the worker's fencing token is the greatest that the stream has seen: a worker that was
 * frozen, and wakes up after another one has taken over, adds nothing. Neither does a command that Redis gets a second time.
 *
 * A Redis that has lost its data has forgotten the token, and takes that of whoever comes first. That does no harm: the
 * stream begins anew then, and a worker that comes late finds that it does not end where it left it.
 */
export class EventStream {
  readonly #redis: Redis;
  readonly #length: number;

  /** @param length entries that are kept at the least. */
  constructor({ redis, length }: { readonly redis: Redis; readonly length: number }) {
    this.#redis = redis;
    this.#length = length;
  }

  /**
   * Has the stream refuse smaller tokens from now on.
   *
   * @returns the event that it ends with, even if that was trimmed; 0 where there is no stream.
   * @throws {StreamChangedError} when it has seen a greater token; {Error} of Redis.
   */
  async claim(token: number): Promise<number> {
    const answer = await this.#run(CLAIM, token);
    if (answer === SUPERSEDED) throw new StreamChangedError(answer);
    return eventIdOf(answer);
  }

  /**
   * Appends messages in one go, and trims. Each entry also has the id of the event before it, by which a reader that was
   * away for too long learns that it has missed some.
   *
   * @param end the event that the stream ends with. @param previous the event before the first one.
   * @throws {StreamChangedError} when nothing was appended; {Error} of Redis.
   */
  async append(
    messages: readonly StreamedMessage[],
    { token, end, previous }: { token: number; end: number; previous: number },
  ): Promise<void> {
    const entries = messages.flatMap(({ id, message }) => [id, message]);
    const answer = await this.#run(APPEND, token, entryId(end), this.#length, previous, ...entries);
    if (answer !== "OK") throw new StreamChangedError(`the stream is not as it was left: ${answer}`);
  }

  /** Removes the stream. @throws {StreamChangedError} when it has seen a greater token; {Error} of Redis. */
  async remove(token: number): Promise<void> {
    const answer = await this.#run(REMOVE, token);
    if (answer !== "OK") throw new StreamChangedError(answer);
  }

  async #run(script: string, ...args: (string | number)[]): Promise<string> {
    const redis = this.#redis;
    return String(await redis.eval(script, 2, streamTokenOf(redis), streamOf(redis), ...args));
  }
}

const SUPERSEDED = "another worker feeds it";

/** Refuses a token that is smaller than one that was seen. */
const FENCE = `
  local seen = tonumber(redis.call("GET", KEYS[1]) or 0)
  if tonumber(ARGV[1]) < seen then return "${SUPERSEDED}" end
  if tonumber(ARGV[1]) > seen then redis.call("SET", KEYS[1], ARGV[1]) end`;

/** The last id that was ever generated, not that of the last entry, which may have been removed. */
const END = `
  local last = "0-0"
  local info = redis.pcall("XINFO", "STREAM", KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == "last-generated-id" then last = info[i + 1] end
  end`;

const CLAIM = `${FENCE}${END}
  return last`;

const APPEND = `${FENCE}${END}
  if last ~= ARGV[2] then return "it ends with " .. last end
  local previous = ARGV[4]
  for i = 5, #ARGV, 2 do
    redis.call("XADD", KEYS[2], ARGV[i] .. "-0", "event", ARGV[i + 1], "previous", previous)
    previous = ARGV[i]
  end
  redis.call("XTRIM", KEYS[2], "MAXLEN", "~", ARGV[3])
  return "OK"`;

const REMOVE = `${FENCE}
  redis.call("UNLINK", KEYS[2])
  return "OK"`;
