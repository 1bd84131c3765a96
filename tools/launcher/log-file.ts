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
} from "node:fs";
import path from "node:path";
import { StringDecoder } from "node:string_decoder";

const MAX_BYTES = 10 * 1024 * 1024;
const TAIL_BYTES = 64 * 1024;
const POLL_MS = 100;

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

  /** Starts a new log. `onLine` gets each line within a tenth of a second. */
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
    this.#timer = setInterval(() => this.poll(), POLL_MS).unref();
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
      copyFileSync(this.path, `${this.path}.1`);
      ftruncateSync(this.fd);
      this.#offset = 0;
    }
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
    appendFileSync(this.fd, `${line}\n`);
  }

  /** Call this once the child has exited. Its last lines still reach `onLine`. */
  close(): void {
    clearInterval(this.#timer);
    this.poll();
    closeSync(this.fd);
  }
}
