import net from "node:net";

const LOOPBACK = "127.0.0.1";
const CONNECT_TIMEOUT_MS = 1_000;

/** Whether the port is free, both on this host name and on the loopback address. */
export async function isFree(port: number, host = LOOPBACK): Promise<boolean> {
  // macOS allows binding 127.0.0.1:port beside a listener on *:port, so try to connect first.
  return !(await answers(port)) && (await canListen(port, host));
}

/** `preferred` if it is free, otherwise any free port on the loopback address. */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await isFree(preferred))) return preferred;
  return listenOnce(0, LOOPBACK);
}

/** Whether something listens there. */
export function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ port, host: LOOPBACK, timeout: CONNECT_TIMEOUT_MS });
    const settle = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => settle(true));
    socket.once("error", () => settle(false));
    // Something drops the packets, so the port is not free.
    socket.once("timeout", () => settle(true));
  });
}

async function canListen(port: number, host: string): Promise<boolean> {
  try {
    await listenOnce(port, host);
    return true;
  } catch {
    return false;
  }
}

function listenOnce(port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once("error", reject);
    server.listen({ port, host, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : port));
    });
  });
}
