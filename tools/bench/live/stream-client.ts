import { connect, type Socket } from "node:net";

const LOOPBACK = "127.0.0.1";
const EVENT = /^data: \{"specversion":"1\.0","id":"(\d+)"/gm;

/**
 * A listener to a stream of server-sent events. It only finds the events' ids: clients share the machine with
 * the server, so thousands of them must be cheap.
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
      // Keep an incomplete line for later.
      rest = text.slice(end);
      for (const [, id] of text.slice(0, end).matchAll(EVENT)) onEvent(Number(id));
    });
    socket.on("error", () => undefined);
    socket.once("close", () => (this.isOpen = false));
  }

  /** Resolves when the stream has begun. @throws {Error} if it does not */
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
