import { connect, type Socket } from "node:net";

const LOOPBACK = "127.0.0.1";
const EVENT = /^data: \{"specversion":"1\.0","id":"(\d+)"/gm;

/**
 * One listener to a stream of server-sent events. It knows only where the ids of events stand: on a machine that is shared
 * with the server, what thousands of clients cost is missing there.
 */
export class StreamClient {
  readonly #socket: Socket;
  isOpen = true;

  private constructor(socket: Socket, onEvent: (id: number) => void) {
    this.#socket = socket;
    let rest = "";
    socket.on("data", (chunk) => {
      const text = rest + chunk.toString();
      const end = text.lastIndexOf("\n") + 1;
      // A line that is not complete waits for the rest.
      rest = text.slice(end);
      for (const [, id] of text.slice(0, end).matchAll(EVENT)) onEvent(Number(id));
    });
    socket.on("error", () => undefined);
    socket.once("close", () => (this.isOpen = false));
  }

  /** Resolves when the stream has begun. @throws {Error} when it does not. */
  static open(
    port: number,
    path: string,
    apiKey: string,
    onEvent: (id: number) => void,
  ): Promise<StreamClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: LOOPBACK, noDelay: true });
      socket.once("error", reject);
      socket.once("close", () => reject(new Error("closed without an answer")));
      socket.once("connect", () =>
        socket.write(`GET ${path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer ${apiKey}\r\n\r\n`),
      );
      socket.once("data", (head) => {
        if (head.toString("latin1", 0, 12) === "HTTP/1.1 200") resolve(new StreamClient(socket, onEvent));
        else reject(new Error(`refused: ${head.toString("latin1", 0, 80)}`));
      });
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}
