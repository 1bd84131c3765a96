import { once } from "node:events";
import { createServer, type Socket } from "node:net";

/**
 * Answers one request on each connection, and does something else to the connection with the next one.
 *
 * @param answer without its head's first line. @returns `seen`: what became of each request, by its connection's number
 */
export async function closingServer(then: (socket: Socket) => void, answer = "204 No Content\r\n\r\n") {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    const number = ++connections;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => {
      seen.push(`${number} answered`);
      socket.write(`HTTP/1.1 ${answer}`);
      socket.once("data", () => {
        seen.push(`${number} closed`);
        then(socket);
      });
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the server does not listen");
  const close = () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  };
  return { url: `http://127.0.0.1:${address.port}/hook`, seen, close };
}
