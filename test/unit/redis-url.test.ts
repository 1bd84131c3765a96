import { expect, test } from "@jest/globals";
import { redisAddress } from "../../src/platform/redis-url.ts";

test("of one server, login, index and family are understood, and TLS by the scheme", () => {
  expect(redisAddress("rediss://shop:p%40ss@[::1]:1234/3?family=6")).toMatchObject({
    kind: "single",
    hosts: [{ host: "::1", port: 1234 }],
    tls: true,
    username: "shop",
    password: "p@ss",
    database: 3,
    family: 6,
  });
  expect(redisAddress("redis://host")).toMatchObject({
    hosts: [{ host: "host", port: 6379 }],
    tls: false,
    username: undefined,
    password: undefined,
    database: 0,
    family: 0,
  });
});

test("of Sentinels, each with its port, the master's name and the login at the Sentinels themselves", () => {
  const url = "redis+sentinel://:p,w@one:1,two/shop/2?sentinelUsername=watch&sentinelPassword=a%26b";
  expect(redisAddress(url)).toMatchObject({
    kind: "sentinel",
    hosts: [
      { host: "one", port: 1 },
      { host: "two", port: 26_379 },
    ],
    master: "shop",
    password: "p,w",
    database: 2,
    sentinelUsername: "watch",
    sentinelPassword: "a&b",
  });
});

test("of a cluster, some nodes", () => {
  expect(redisAddress("REDISS+CLUSTER://a:b@one,two:7000/0")).toMatchObject({
    kind: "cluster",
    tls: true,
    hosts: [
      { host: "one", port: 6379 },
      { host: "two", port: 7000 },
    ],
    username: "a",
    password: "b",
  });
});

test("of a socket, its path", () => {
  expect(redisAddress("unix://shop:secret@/run/my%20redis.sock?db=4")).toMatchObject({
    kind: "single",
    socket: "/run/my redis.sock",
    hosts: [],
    username: "shop",
    password: "secret",
    database: 4,
  });
});

test.each([
  ["redis://host?family=4&family=6", "must say each part of its query once"],
  ["unix:///run/redis.sock?db=1&db=2", "must say each part of its query once"],
  ["redis+sentinel://one/shop?sentinelPassword=%zz", "must have a % in its query written as %25"],
  ["redis://ho\tst", "must not contain tabs or line breaks"],
])("of %j nothing is guessed", (url, fault) => {
  expect(() => redisAddress(url)).toThrow(fault);
});

test("what is wrong is told without the password", () => {
  expect(() => redisAddress("redis+cluster://shop:hunter2@one:x")).toThrow(/^(?!.*hunter2).*must name hosts/);
});
