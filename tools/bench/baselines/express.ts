import { createServer } from "node:http";
import express from "express";

/**
 * Baseline for bare Express: parses an order's JSON and answers 202 with a little JSON, with the service's
 * settings but without placing an order.
 */
const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.use(express.json());
app.post("/orders", (request, response) => {
  response.status(202).json({ status: "CREATED", lines: request.body.lines.length });
});

const server = createServer(app);
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  process.stdout.write(`${JSON.stringify({ msg: "listening", url: `http://127.0.0.1:${port}` })}\n`);
});
process.on("SIGTERM", () => process.exit());
