import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { faultOfMysqlUrl, mysqlAddress } from "../../src/platform/mysql-url.ts";

const at = (query: string, host = "db.example") => `mysql://shop:secret@${host}/orders${query}`;
const verified = (rejectUnauthorized: boolean, verifyIdentity: boolean) => ({
  ssl: { rejectUnauthorized, verifyIdentity },
});

test("a URL is read with its port, or the usual one, and what is escaped in it", () => {
  expect(mysqlAddress("mysql://a%40b:p%25%23@[::1]:3307/shop")).toEqual({
    host: "::1",
    port: 3307,
    user: "a@b",
    password: "p%#",
    database: "shop",
  });
  expect(mysqlAddress("mysql://a@db")).toEqual({ host: "db", port: 3306, user: "a", password: "" });
});

test.each([
  ["?ssl-mode=REQUIRED", verified(false, false)],
  ["?sslmode=require", verified(false, false)],
  ["?ssl_mode=required", verified(false, false)],
  ["?sslMode=REQUIRED", verified(false, false)],
  ["?ssl=true", verified(false, false)],
  ["?ssl=1", verified(false, false)],
  ["?tls=skip-verify", verified(false, false)],
  ['?ssl={"rejectUnauthorized":false}', verified(false, false)],
  ["?ssl-mode=VERIFY_CA", verified(true, false)],
  ["?sslmode=verify-ca", verified(true, false)],
  ["?ssl-mode=VERIFY_IDENTITY", verified(true, true)],
  ["?sslmode=verify-full", verified(true, true)],
  ["?sslaccept=strict", verified(true, true)],
  ["?ssl=%7B%22rejectUnauthorized%22%3Atrue%7D", verified(true, true)],
])("%s asks for TLS", (query, tls) => {
  expect(mysqlAddress(at(query))).toMatchObject(tls);
});

test("a slash in the database's name is written as %2F", () => {
  expect(mysqlAddress("mysql://a:b@db/shop%2Forders")).toMatchObject({ database: "shop/orders" });
});

test("a client's certificate without a mode asks for TLS with a server whose own is signed by a known authority", async () => {
  const folder = await mkdtemp(path.join(tmpdir(), "conveyor-"));
  const [cert, key] = ["cert.pem", "key.pem"].map((name) => path.join(folder, name));
  try {
    for (const file of [cert, key]) await writeFile(file ?? "", "-----BEGIN NOTHING-----\n");
    expect(mysqlAddress(at(`?ssl-cert=${cert}&ssl-key=${key}`))).toMatchObject(verified(true, false));
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.each(["", "?", "?ssl-mode=DISABLED", "?sslmode=disable", "?ssl=false", "?ssl=0"])(
  "%p asks for none",
  (query) => {
    expect(mysqlAddress(at(query))).not.toHaveProperty("ssl");
  },
);

test.each([
  ["postgres://db", "must be an address that begins with mysql://"],
  ["db.example", "must be an address that begins with mysql://"],
  ["mysql:db/shop", "must be an address that begins with mysql://"],
  ["mysql:///shop", "must name one host, such as mysql://user:password@host:3306/database, and names none"],
  ["mysql://", "must name one host, such as mysql://user:password@host:3306/database, and names none"],
  ["mysql://a:b@one,two/shop", "must name one host, such as mysql://user:password@host:3306/database"],
  [
    "mysql://a:b@%2Fvar%2Fmysql.sock/shop",
    "must name one host, such as mysql://user:password@host:3306/database",
  ],
  [
    "mysql://one:3306,two:3306/shop",
    "must be an address of one host, such as mysql://user:password@host:3306/database",
  ],
  [
    "mysql://db:65536/shop",
    "must be an address of one host, such as mysql://user:password@host:3306/database",
  ],
  ["mysql://db:0/shop", "must have a port from 1 to 65535"],
  ["mysql://a:100%@db", "must have a % in its user name, password or database written as %25"],
  [
    "mysql://a:b@db/shop/orders",
    "must have the database's name as its whole path, such as mysql://user:password@host:3306/database",
  ],
  ["mysql://a:b@d\tb/shop", "must not contain tabs or line breaks"],
  ["mysql://a:b@db/sh\nop", "must not contain tabs or line breaks"],
  ["mysql://a:b@db/shop#1", "must not contain #; in a password it is written as %23"],
  ["mysql://a:p#b@db/shop", "must not contain #; in a password it is written as %23"],
  [
    at("?ssl-mod=REQUIRED"),
    "must have no parameter ssl-mod; known are ssl-mode, ssl-ca, ssl-cert and ssl-key",
  ],
  [at("?charset=latin1"), "must have no parameter charset; known are ssl-mode, ssl-ca, ssl-cert and ssl-key"],
  [at("?ssl-mode=REQUIRED&ssl=false"), "must say ssl-mode once"],
  [
    at("?ssl-mode=PREFERRED"),
    "must have one of DISABLED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY as its ssl-mode",
  ],
  [at("?ssl-mode="), "must have one of DISABLED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY as its ssl-mode"],
  [
    at("?ssl-mode=constructor"),
    "must have one of DISABLED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY as its ssl-mode",
  ],
  [at("?ssl-ca=/nowhere/ca.pem"), "must have a readable PEM file as its ssl-ca"],
  [at("?ssl-ca=package.json"), "must have a readable PEM file as its ssl-ca"],
  [at("?ssl-mode=REQUIRED&ssl-cert=a.pem"), "must have both ssl-cert and ssl-key, or none"],
  [at("?ssl-mode=DISABLED&ssl-ca=ca.pem"), "must not have certificates without TLS: set ssl-mode"],
  ...["10.0.0.1", "[::1]"].map((host): [string, string] => [
    at("?ssl-mode=VERIFY_IDENTITY", host),
    "must have a host name, and no IP address, with ssl-mode=VERIFY_IDENTITY",
  ]),
])("%s is refused", (url, fault) => {
  expect(faultOfMysqlUrl(url)).toBe(fault);
  expect(() => mysqlAddress(url)).toThrow(fault);
});
