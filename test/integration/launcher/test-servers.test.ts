import { afterEach, expect, test } from "@jest/globals";
import { Redis } from "ioredis";
import mysql from "mysql2/promise";
import { isAlive, identify } from "../../../tools/launcher/lock.js";
import { startTestMysql, startTestRedis, type TestServer } from "../../support/servers.ts";

const started: TestServer[] = [];
afterEach(async () => {
  await Promise.all(started.splice(0).map((server) => server.stop()));
});

test("the run's servers take connections, and the MySQL account may create databases", async () => {
  const redis = new Redis(process.env["TEST_REDIS_URL"]!);
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();

  const connection = await mysql.createConnection(process.env["TEST_MYSQL_URL"]!);
  await connection.query("CREATE DATABASE launcher_check");
  await connection.query("DROP DATABASE launcher_check");
  await connection.end();
});

test("a private Redis takes arguments, and comes back on its port with its data after a crash", async () => {
  const server = await startTestRedis({ args: ["--maxmemory", "20mb", "--appendfsync", "always"] });
  started.push(server);
  const redis = new Redis(server.url);
  expect(await redis.config("GET", "maxmemory")).toEqual(["maxmemory", String(20 * 1024 * 1024)]);
  await redis.set("kept", "yes");
  redis.disconnect();

  await server.restart();

  const again = new Redis(server.url);
  expect(await again.get("kept")).toBe("yes");
  again.disconnect();
});

test("a private MySQL is apart from the run's, and is gone when stopped", async () => {
  const server = await startTestMysql();
  const identity = identify(server.pid)!;
  const connection = await mysql.createConnection(server.url);
  const [rows] = await connection.query("SHOW DATABASES LIKE 'launcher%'");
  expect(rows).toEqual([]);
  await connection.end();

  await server.stop();

  expect(isAlive(identity)).toBe(false);
});
