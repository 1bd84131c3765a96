import type { Redis } from "ioredis";
import { entryId, eventIdOf, streamLeaseOf, streamOf } from "../stream.ts";

/** Milliseconds for which the stream belongs to a holder that says nothing more. */
const LEASE_MS = 4_000;

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
 * The stream as the one who feeds it sees it. Whatever changes it is one script, which does nothing unless the lease is
 * still held and the stream ends where its holder thinks: a holder that was frozen, and wakes up after another one has
 * taken over, adds nothing. Neither does a command that Redis gets a second time.
 */
export class EventStream {
  readonly #redis: Redis;
  readonly #holder: string;
  readonly #length: number;
  readonly #stream: string;
  readonly #lease: string;

  /** @param length entries that are kept at the least. */
  constructor(options: { readonly redis: Redis; readonly holder: string; readonly length: number }) {
    this.#redis = options.redis;
    this.#holder = options.holder;
    this.#length = options.length;
    this.#stream = streamOf(options.redis);
    this.#lease = streamLeaseOf(options.redis);
  }

  /** Takes the lease if nobody has it, or keeps it. @throws {Error} of Redis. */
  async hold(): Promise<"kept" | "taken" | "refused"> {
    const answer = await this.#redis.eval(HOLD, 1, this.#lease, this.#holder, LEASE_MS);
    return answer === 2 ? "taken" : answer === 1 ? "kept" : "refused";
  }

  /** Lets another one take it. @throws {Error} of Redis. */
  async release(): Promise<void> {
    await this.#redis.eval(RELEASE, 1, this.#lease, this.#holder);
  }

  /** The event that it ends with, even if that was trimmed; 0 where there is no stream. @throws {Error} of Redis. */
  async end(): Promise<number> {
    return eventIdOf(String(await this.#redis.eval(END, 1, this.#stream)));
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
    { end, previous }: { end: number; previous: number },
  ): Promise<void> {
    const entries = messages.flatMap(({ id, message }) => [id, message]);
    const answer = await this.#redis.eval(
      APPEND,
      2,
      this.#lease,
      this.#stream,
      this.#holder,
      LEASE_MS,
      entryId(end),
      this.#length,
      previous,
      ...entries,
    );
    if (answer !== "OK") throw new StreamChangedError(`the stream is not as it was left: ${String(answer)}`);
  }

  /** Removes the stream, if the lease is held. @throws {StreamChangedError} {Error} of Redis. */
  async remove(): Promise<void> {
    if ((await this.#redis.eval(REMOVE, 2, this.#lease, this.#stream, this.#holder)) !== "OK")
      throw new StreamChangedError("another worker feeds the stream");
  }
}

const HOLD = `
  local holder = redis.call("GET", KEYS[1])
  if holder and holder ~= ARGV[1] then return 0 end
  redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
  return holder and 1 or 2`;

const RELEASE = `
  if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end
  return 1`;

/** The last id that was ever generated, not that of the last entry, which may have been removed. */
const END_OF = `
  local function endOf(stream)
    local info = redis.pcall("XINFO", "STREAM", stream)
    for i = 1, #info, 2 do
      if info[i] == "last-generated-id" then return info[i + 1] end
    end
    return "0-0"
  end`;

const END = `${END_OF}
  return endOf(KEYS[1])`;

const APPEND = `${END_OF}
  if redis.call("GET", KEYS[1]) ~= ARGV[1] then return "another worker feeds it" end
  local last = endOf(KEYS[2])
  if last ~= ARGV[3] then return "it ends with " .. last end
  redis.call("PEXPIRE", KEYS[1], ARGV[2])
  local previous = ARGV[5]
  for i = 6, #ARGV, 2 do
    redis.call("XADD", KEYS[2], ARGV[i] .. "-0", "event", ARGV[i + 1], "previous", previous)
    previous = ARGV[i]
  end
  redis.call("XTRIM", KEYS[2], "MAXLEN", "~", ARGV[4])
  return "OK"`;

const REMOVE = `
  if redis.call("GET", KEYS[1]) ~= ARGV[1] then return "another worker feeds it" end
  redis.call("UNLINK", KEYS[2])
  return "OK"`;
