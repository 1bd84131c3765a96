import { connect, type Socket } from "node:net";

const LOOPBACK = "127.0.0.1";
const END_OF_HEAD = "\r\n\r\n";
/** Position of the status in "HTTP/1.1 202". */
const STATUS_AT = 9;
/** Longer than any server under test may take. */
const PATIENCE_MS = 30_000;

/**
 * A connection to an HTTP server on this machine, for one request at a time. It supports only the responses of
 * the servers under test: a status and a Content-Length. The client shares the machine with the server, so it
 * must be cheap, and `node:http` takes as much CPU as the server.
 */
export class Connection {
  readonly #port: number;
  #socket: Socket | undefined;
  #read: Buffer | undefined;
  #answered: ((status: number) => void) | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** Resolves when connected. @throws {Error} of the system */
  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port: this.#port, host: LOOPBACK, noDelay: true });
      this.#socket = socket;
      this.#read = undefined;
      socket.setTimeout(PATIENCE_MS, () => socket.destroy());
      socket.once("connect", () => resolve());
      socket.on("error", reject);
      socket.on("data", (chunk) => this.#take(chunk));
      socket.on("close", () => {
        reject(new Error("the connection was closed"));
        if (this.#socket !== socket) return;
        this.#socket = undefined;
        this.#settle(0);
      });
    });
  }

  /** Sends a request and calls back with the response's status, or 0 if there is none. Connects if necessary. */
  exchange(request: string, answered: (status: number) => void): void {
    this.#answered = answered;
    if (this.#socket) this.#socket.write(request, "latin1");
    else
      this.open().then(
        () => this.#socket?.write(request, "latin1"),
        () => this.#settle(0),
      );
  }

  /** Closes the connection without a callback. */
  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }

  #take(chunk: Buffer): void {
    const read = this.#read ? Buffer.concat([this.#read, chunk]) : chunk;
    const headEnds = read.indexOf(END_OF_HEAD);
    if (headEnds < 0) {
      this.#read = read;
      return;
    }
    const head = read.toString("latin1", 0, headEnds);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) throw new Error(`an answer without Content-Length: ${head}`);
    if (read.length < headEnds + END_OF_HEAD.length + length) {
      this.#read = read;
      return;
    }
    this.#read = undefined;
    const isLast = /\r\nconnection: *close/i.test(head);
    if (isLast) this.close();
    this.#settle(Number(head.slice(STATUS_AT, STATUS_AT + 3)));
  }

  #settle(status: number): void {
    const answered = this.#answered;
    this.#answered = undefined;
    answered?.(status);
  }
}
