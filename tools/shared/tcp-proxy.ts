import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A TCP proxy that can be pointed at another server, like a virtual IP or a DNS name, or stop forwarding. */
export interface TcpProxy {
  readonly port: number;
  /** The target's URL, with the proxy's port. */
  readonly url: string;
  /** Sends new connections to this port; existing ones stay where they are. */
  turnTo(port: number): void;
  /** Stops forwarding on all existing connections, but keeps them open. */
  blackHole(): void;
  /** Closes all connections. */
  close(): Promise<void>;
}

/** Starts a proxy to the server of this URL, on a free loopback port. */
export async function startTcpProxy(targetUrl: string): Promise<TcpProxy> {
  const { hostname: host, port } = new URL(targetUrl);
  let target = Number(port);
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host, noDelay: true });
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
  return {
    port: address.port,
    url: Object.assign(new URL(targetUrl), { port: String(address.port) }).href,
    turnTo(next) {
      target = next;
    },
    blackHole() {
      for (const socket of sockets) {
        socket.unpipe();
        socket.resume();
      }
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
