import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** An address that leads to a server on this machine, and can be turned to another one: a virtual IP, a DNS name. */
export interface TcpSwitch {
  readonly port: number;
  /** From now on new connections lead to this port; those that exist stay where they are. */
  turnTo(port: number): void;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Starts one on a free port. */
export async function startTcpSwitch(firstPort: number): Promise<TcpSwitch> {
  let target = firstPort;
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port: target, host: "127.0.0.1", noDelay: true });
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
  if (address === null || typeof address === "string") throw new Error("the switch has no port");
  return {
    port: address.port,
    turnTo(port) {
      target = port;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
