import {
  appendFileSync,
  closeSync,
  copyFileSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statfsSync,
} from "node:fs";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";
import { errorCode } from "../shared/failure.ts";
import { diskFault } from "./disk.ts";
import { say, yellow } from "./terminal.ts";

const MAX_BYTES = 10 * 1024 * 1024;
const TAIL_BYTES = 64 * 1024;
const POLL_MS = 100;
const SPACE_CHECK_MS = 2_000;
/** With less, the next lines don't fit; with so much, they do again. */
const LEAST_BYTES = 64 * 1024;
const ENOUGH_BYTES = 16 * LEAST_BYTES;
/** Disks without space, by their number. All logs on one have the same trouble, and it is said once. */
const full = new Set<number>();
/** Between two lines about the same trouble. */
const TELL_MS = 60_000;

/**
 * A bounded log file that a child process writes to directly, so a busy or dead parent never blocks it.
 * `<name>.1` keeps the previous run's log, or the older half of this one once it grows too big.
 */
export class LogFile {
  readonly path: string;
  /** For the child's stdout and stderr. Opened for appending, so it can be truncated while the child writes. */
  readonly fd: number;
  #decoder = new StringDecoder("utf8");
  #offset = 0;
  #onLine: (line: string) => void;
  #rest = "";
  #timer: NodeJS.Timeout;
  #lookAgainAt = 0;
  #toldAt = -Infinity;

  /**
   * Starts a new log. `onLine` gets each line within a tenth of a second.
   *
   * @throws the system's error if the file can't be made
   */
  constructor(file: string, onLine: (line: string) => void = () => {}) {
    mkdirSync(path.dirname(file), { recursive: true });
    try {
      renameSync(file, `${file}.1`);
    } catch {
      // The first run has no earlier log.
    }
    this.path = file;
    this.fd = openSync(file, "a+", 0o600);
    this.#onLine = onLine;
    this.#timer = setInterval(() => this.#survive(() => this.poll()), POLL_MS).unref();
  }

  /** Reads new lines, and truncates the file once it has grown too big. */
  poll(): void {
    const chunk = Buffer.alloc(TAIL_BYTES);
    for (;;) {
      const count = readSync(this.fd, chunk, 0, chunk.length, this.#offset);
      if (count === 0) break;
      this.#offset += count;
      const lines = (this.#rest + this.#decoder.write(chunk.subarray(0, count))).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#onLine(line);
    }
    if (this.#offset > MAX_BYTES) {
      // Without space for the copy, what was logged is lost rather than what will be.
      this.#survive(() => copyFileSync(this.path, `${this.path}.1`));
      ftruncateSync(this.fd);
      this.#offset = 0;
    }
    this.#watchSpace();
  }

  /** The children's lines are lost without a word once the disk is full. */
  #watchSpace(): void {
    const now = Date.now();
    if (now < this.#lookAgainAt) return;
    this.#lookAgainAt = now + SPACE_CHECK_MS;
    const { bavail, bsize } = statfsSync(this.path);
    const free = bavail * bsize;
    if (free < LEAST_BYTES) this.#sayFull();
    if (free >= ENOUGH_BYTES && full.delete(fstatSync(this.fd).dev))
      say(`There is space for ${path.dirname(this.path)} again`);
  }

  #sayFull(): void {
    const { dev } = fstatSync(this.fd);
    if (full.has(dev)) return;
    full.add(dev);
    say(yellow(`! ${path.dirname(this.path)} can't be written: no space is left on its disk`));
  }

  /** Trouble with a log must not end what is logged. */
  #survive(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (errorCode(error) === "ENOSPC") this.#sayFull();
      else this.#tell(diskFault(error) ?? `${this.path} can't be kept: ${String(error)}`);
    }
  }

  #tell(trouble: string): void {
    const now = Date.now();
    if (now - this.#toldAt < TELL_MS) return;
    this.#toldAt = now;
    say(yellow(`! ${trouble}`));
  }

  /** The last lines that are not empty. */
  tail(count: number): string[] {
    const { size } = fstatSync(this.fd);
    const chunk = Buffer.alloc(Math.min(size, TAIL_BYTES));
    readSync(this.fd, chunk, 0, chunk.length, size - chunk.length);
    return chunk
      .toString("utf8")
      .split("\n")
      .filter((line) => line.trim() !== "")
      .slice(-count);
  }

  /** Appends a line. */
  note(line: string): void {
    this.#survive(() => appendFileSync(this.fd, `${line}\n`));
  }

  /** Call this once the child has exited. Its last lines still reach `onLine`. */
  close(): void {
    clearInterval(this.#timer);
    this.#survive(() => this.poll());
    closeSync(this.fd);
  }
}
