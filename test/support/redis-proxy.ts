import { connect, createServer, type Socket } from "node:net";
import { once } from "node:events";

/** A way to a Redis that a test can cut or turn to another one; for the connections made after that. */
export interface RedisProxy {
  readonly url: string;
  /** From now on, nothing of what is sent over the connections that exist arrives, and they stay open. */
  blackHole(): void;
  /** New connections lead to this port; those that exist stay where they are. */
  turnTo(port: number): void;
  close(): Promise<void>;
}

/** Starts one to the Redis of this address. */
export async function startRedisProxy(redisUrl: string): Promise<RedisProxy> {
  const target = new URL(redisUrl);
  let port = Number(target.port);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, target.hostname);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  const url = Object.assign(new URL(redisUrl), { port: String(address.port) }).href;
  return {
    url,
    blackHole() {
      for (const socket of sockets) {
        socket.unpipe();
        socket.resume();
      }
    },
    turnTo(next) {
      port = next;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
