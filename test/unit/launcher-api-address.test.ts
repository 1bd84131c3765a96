import net from "node:net";
import { afterEach, describe, expect, test } from "@jest/globals";
import { chooseApiAddress } from "../../tools/launcher/api-address.ts";
import { freePort, isFree } from "../../tools/launcher/ports.ts";

const servers: net.Server[] = [];
afterEach(() => servers.splice(0).forEach((server) => server.close()));

async function occupy(port: number, host = "127.0.0.1"): Promise<number> {
  const server = net.createServer();
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(port, host, resolve));
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}

describe("PORT set", () => {
  test("is used", async () => {
    const port = await freePort();
    expect(await chooseApiAddress({ PORT: String(port) }, 1234)).toEqual({
      host: "127.0.0.1",
      port,
      url: `http://127.0.0.1:${port}`,
    });
  });

  test("and taken: an error that names it", async () => {
    const port = await occupy(0);
    await expect(chooseApiAddress({ PORT: String(port) })).rejects.toThrow(
      `PORT is ${port}, which is in use`,
    );
  });

  test("and taken by somebody who listens on all addresses", async () => {
    const port = await occupy(0, "0.0.0.0");
    await expect(chooseApiAddress({ PORT: String(port) })).rejects.toThrow("PORT");
  });

  test.each(["abc", "70000", "-1", "3000.5"])("to %s: an error that names it", async (value) => {
    await expect(chooseApiAddress({ PORT: value })).rejects.toThrow(`not "${value}"`);
  });

  test("to 0: any free port", async () => {
    const { port } = await chooseApiAddress({ PORT: "0" });
    expect(await isFree(port)).toBe(true);
  });
});

describe("PORT not set", () => {
  test("the port of the last run is used again, and how to change it is said", async () => {
    const remembered = await freePort();
    expect(await chooseApiAddress({ PORT: "" }, remembered)).toMatchObject({
      port: remembered,
      note: expect.stringMatching(/as before; set PORT/),
    });
  });

  test("a port that is taken by now is left alone", async () => {
    const remembered = await occupy(0);
    const { port } = await chooseApiAddress({}, remembered);
    expect(port).not.toBe(remembered);
    expect(port).toBeGreaterThanOrEqual(3000);
  });
});

describe("HOST", () => {
  test("all addresses are reached through the loopback one", async () => {
    expect(await chooseApiAddress({ HOST: "0.0.0.0", PORT: "0" })).toMatchObject({
      host: "0.0.0.0",
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    });
  });

  test("an address of another machine: an error that names it", async () => {
    await expect(chooseApiAddress({ HOST: "192.0.2.1" })).rejects.toThrow("HOST is 192.0.2.1");
  });
});
