import { describe, expect, test } from "@jest/globals";
import { faultOfAddress } from "../../../src/events/webhooks/address.ts";
import { isNetwork, Networks } from "../../../src/events/webhooks/networks.ts";

const none = new Networks();

describe("without further networks", () => {
  test.each(["93.184.215.14", "1.1.1.1", "172.32.0.1", "192.169.0.1", "2606:4700::1111", "2a00:1450::1"])(
    "%s may be reached",
    (address) => {
      expect(none.allows(address)).toBe(true);
    },
  );

  test.each([
    ["0.0.0.0", "unspecified"],
    ["0.1.2.3", "this network"],
    ["10.1.2.3", "private"],
    ["100.64.0.1", "shared by carriers"],
    ["100.100.100.200", "a cloud's metadata"],
    ["127.0.0.1", "loopback"],
    ["127.8.9.10", "loopback"],
    ["169.254.169.254", "clouds' metadata"],
    ["168.63.129.16", "a cloud's metadata, though it is public"],
    ["172.16.0.1", "private"],
    ["172.31.255.255", "private"],
    ["192.0.0.192", "a cloud's metadata"],
    ["192.0.2.1", "documentation"],
    ["192.168.1.1", "private"],
    ["198.18.0.1", "benchmarks"],
    ["203.0.113.7", "documentation"],
    ["224.0.0.1", "multicast"],
    ["255.255.255.255", "broadcast"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["::ffff:127.0.0.1", "IPv4 in IPv6"],
    ["::ffff:7f00:1", "IPv4 in IPv6"],
    ["::ffff:10.0.0.1", "IPv4 in IPv6"],
    ["::127.0.0.1", "IPv4 in IPv6, as of old"],
    ["64:ff9b::a00:1", "translated IPv4"],
    ["2001::1", "Teredo"],
    ["2001:db8::1", "documentation"],
    ["2002:7f00:1::", "6to4"],
    ["fc00::1", "unique local"],
    ["fd00:ec2::254", "a cloud's metadata"],
    ["fe80::1", "link-local"],
    ["fe80::1%eth0", "link-local"],
    ["fec0::1", "site-local"],
    ["ff02::1", "multicast"],
    ["", "nothing"],
    ["localhost", "a name"],
    ["127.1", "short for loopback"],
    ["0x7f.0.0.1", "loopback"],
    ["2130706433", "loopback"],
  ])("%s may not: %s", (address) => {
    expect(none.allows(address)).toBe(false);
  });
});

test("what is allowed may be reached, and nothing beside it", () => {
  const networks = new Networks(["127.0.0.0/8", "10.1.0.0/16", "fd00:1::/32"]);
  for (const address of ["127.0.0.1", "::ffff:127.0.0.1", "10.1.255.255", "fd00:1::2", "1.1.1.1"])
    expect([address, networks.allows(address)]).toEqual([address, true]);
  for (const address of ["10.2.0.0", "192.168.0.1", "::1", "fd00:2::2", "::ffff:10.2.0.1"])
    expect([address, networks.allows(address)]).toEqual([address, false]);
});

test("a network has an address and the length of a prefix", () => {
  for (const text of ["10.0.0.0/8", "0.0.0.0/0", "::1/128", "fd00::/8"])
    expect([text, isNetwork(text)]).toEqual([text, true]);
  for (const text of [
    "10.0.0.0",
    "10.0.0.0/33",
    "10.0.0/8",
    "::1/129",
    "a/8",
    "/8",
    "10.0.0.0/",
    "fe80::%e/8",
  ])
    expect([text, isNetwork(text)]).toEqual([text, false]);
  expect(() => new Networks(["10.0.0.0/33"])).toThrow("10.0.0.0/33 is not a network");
});

describe("an address to send to", () => {
  test.each([
    "https://shop.example/hooks?a=b",
    "http://shop.example:8080",
    "https://[2606:4700::1111]/",
    "https://1.1.1.1",
  ])("may be %s", (address) => {
    expect(faultOfAddress(address, none)).toBeUndefined();
  });

  test.each([
    ["shop.example", "must start with"],
    ["ftp://shop.example", "must start with"],
    ["file:///etc/passwd", "must start with"],
    ["javascript:alert(1)", "must start with"],
    ["https://user:secret@shop.example", "must not contain a user or password"],
    ["https://user@shop.example", "must not contain a user or password"],
    ["https://shop.example/#there", "must not contain a fragment"],
    [`https://shop.example/${"a".repeat(2_000)}`, "at most 2000 characters"],
    ["http://localhost:3000", "private"],
    ["http://LOCALHOST.", "private"],
    ["http://api.localhost", "private"],
    ["http://127.0.0.1", "private"],
    // As browsers and URLs understand them, all of these are 127.0.0.1.
    ["http://127.1", "private"],
    ["http://2130706433", "private"],
    ["http://0x7f000001", "private"],
    ["http://017700000001", "private"],
    ["http://[::1]:3000", "private"],
    ["http://[::ffff:127.0.0.1]", "private"],
    ["http://169.254.169.254/latest/meta-data", "private"],
    ["http://10.0.0.1.", "private"],
  ])("may not be %s: %s", (address, fault) => {
    expect(faultOfAddress(address, none)).toContain(fault);
  });

  test("may be local where that is allowed", () => {
    const networks = new Networks(["127.0.0.0/8"]);
    for (const address of ["http://localhost:3000", "http://127.0.0.1:3000"])
      expect(faultOfAddress(address, networks)).toBeUndefined();
  });
});
