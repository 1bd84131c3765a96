import type { Connection } from "../../../queues/connection.ts";
import { entryId, eventIdOf, streamOf, streamTokenOf } from "../stream.ts";

/** A message with the id of its event. */
export interface StreamedMessage {
  readonly id: number;
  readonly message: string;
}

/** Another worker feeds the stream, or Redis has lost some or all of it. */
export class StreamChangedError extends Error {
  override name = "StreamChangedError";
}

/**
 * The Redis Stream, for the worker that feeds it. Each operation is one script, which does nothing unless the stream ends
 * where the worker expects it to, and the worker's fencing token is the greatest that the stream has seen. So a worker that
 * was frozen while another one took over can add nothing, and a command that Redis receives twice takes effect once.
 *
 * If Redis loses its data, it loses the token too, and accepts any. That is harmless: the new stream does not end where a
 * late worker expects it to.
 */
export class EventStream {
  readonly #redis: Connection;
  readonly #length: number;

  /** @param length minimum number of entries to keep. */
  constructor({ redis, length }: { readonly redis: Connection; readonly length: number }) {
    this.#redis = redis;
    this.#length = length;
  }

  /**
   * Makes the stream refuse smaller tokens.
   *
   * @returns the stream's last event, even if it was trimmed; 0 if there is no stream.
   * @throws {StreamChangedError} if the stream has seen a greater token; {Error} of Redis.
   */
  async claim(token: number): Promise<number> {
    const answer = await this.#run(CLAIM, token);
    if (answer === SUPERSEDED) throw new StreamChangedError(answer);
    return eventIdOf(answer);
  }

  /**
   * Appends messages, and trims the stream. Each entry also has the id of the previous event, so that a reader that was
   * away for too long can tell that it missed some.
   *
   * @param end the stream's last event. @param previous the event before the first message.
   * @throws {StreamChangedError} if nothing was appended; {Error} of Redis.
   */
  async append(
    messages: readonly StreamedMessage[],
    { token, end, previous }: { token: number; end: number; previous: number },
  ): Promise<void> {
    const entries = messages.flatMap(({ id, message }) => [id, message]);
    const answer = await this.#run(APPEND, token, entryId(end), this.#length, previous, ...entries);
    if (answer !== "OK") throw new StreamChangedError(`the stream has changed: ${answer}`);
  }

  /** Removes the stream. @throws {StreamChangedError} if it has seen a greater token; {Error} of Redis. */
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

/** Refuses a token smaller than one already seen. */
const FENCE = `
  local seen = tonumber(redis.call("GET", KEYS[1]) or 0)
  if tonumber(ARGV[1]) < seen then return "${SUPERSEDED}" end
  if tonumber(ARGV[1]) > seen then redis.call("SET", KEYS[1], ARGV[1]) end`;

/** The last id generated, since the last entry may have been removed. */
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
