import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

/** A way to a MySQL that a test can cut at one packet. */
export interface MysqlProxy {
  readonly url: string;
  /** Packets that clients have sent since they were last counted from here. */
  readonly packets: number;
  /**
   * Cuts the connection at the packet of this number, counted over all clients from now on.
   *
   * - `before` it arrives: the server never sees it.
   * - `after` it was carried out: the client never sees the answer.
   */
  cutAt(packet: number, when: "before" | "after"): void;
  /** The same, and cuts every connection before a later packet arrives, until `cutAt` says otherwise. */
  cutFrom(packet: number, when: "before" | "after"): void;
  /** Whether every connection is cut after a packet with COMMIT in it was carried out. */
  losesCommits: boolean;
  close(): Promise<void>;
}

/** Starts one to the MySQL of this address. Clients send nothing before the answer to what they sent last. */
export async function startMysqlProxy(mysqlUrl: string): Promise<MysqlProxy> {
  const target = new URL(mysqlUrl);
  const sockets = new Set<Socket>();
  let packets = 0;
  let losesCommits = false;
  let cut: { readonly packet: number; readonly when: "before" | "after"; readonly ever: boolean } | undefined;
  const server = createServer((client) => {
    const upstream = connect(Number(target.port), target.hostname);
    let isMute = false;
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => {
        sockets.delete(socket);
        end();
      });
    }
    client.on("data", (data) => {
      packets += 1;
      const isCut = packets === cut?.packet;
      const isLater = cut?.ever === true && packets > cut.packet;
      if (isLater || (isCut && cut?.when === "before")) return end();
      isMute = isCut || (losesCommits && data.includes("COMMIT"));
      upstream.write(data);
    });
    upstream.on("data", (data) => {
      if (isMute) end();
      else client.write(data);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no port");
  return {
    url: Object.assign(new URL(mysqlUrl), { port: String(address.port) }).href,
    get packets() {
      return packets;
    },
    get losesCommits() {
      return losesCommits;
    },
    set losesCommits(loses) {
      losesCommits = loses;
    },
    cutAt(packet, when) {
      packets = 0;
      cut = { packet, when, ever: false };
    },
    cutFrom(packet, when) {
      packets = 0;
      cut = { packet, when, ever: true };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
