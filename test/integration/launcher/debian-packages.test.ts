import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { run } from "../../../tools/launcher/run.ts";
import {
  canUnpackDebianPackages,
  unpackDebianPackages,
} from "../../../tools/launcher/servers/debian-packages.ts";

let folder: string;
let searchPath: string | undefined;

/** An apt-get and a dpkg-deb that write down how they are called, and need no network. */
beforeEach(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), "conveyor packages-"));
  searchPath = process.env["PATH"];
  process.env["PATH"] = `${folder}/bin:${searchPath}`;
  process.env["STAND_IN"] = folder;
  program(
    "apt-get",
    `echo "$@" >> "$STAND_IN/calls"
     case "$*" in
       *" indextargets "*) printf '%s\n' "$MIRRORS" ;;
       *" update"*) cp "$(sed -n 's/^Dir::Etc::SourceList "\\(.*\\)";$/\\1/p' "$2")" "$STAND_IN/sources" || true ;;
       *missing*) echo "E: Unable to locate package missing"; exit 100 ;;
       *)
         archives=$(sed -n 's/^Dir::Cache "\\(.*\\)";$/\\1/p' "$2")/archives
         echo "Get:1 http://example.test/debian stable/main amd64 tool amd64 1.0 [1 kB]"
         touch "$archives/tool_1.0_amd64.deb" "$archives/libtool_1.0_amd64.deb" ;;
     esac`,
  );
  program(
    "dpkg-deb",
    `test -e "$STAND_IN/breaks" && exit 2
     mkdir -p "$3/usr/bin" "$3/usr/lib/some-triplet/deeper"
     touch "$3/usr/bin/tool" "$3/usr/lib/some-triplet/libtool.so.1" "$3/usr/lib/some-triplet/deeper/libmore.so"`,
  );
});
afterEach(() => {
  process.env["PATH"] = searchPath;
  delete process.env["STAND_IN"];
  delete process.env["MIRRORS"];
  rmSync(folder, { recursive: true });
});

function program(name: string, script: string): void {
  mkdirSync(path.join(folder, "bin"), { recursive: true });
  writeFileSync(path.join(folder, "bin", name), `#!/bin/sh\n${script}\n`);
  chmodSync(path.join(folder, "bin", name), 0o755);
}

function calls(): string[] {
  return readFileSync(path.join(folder, "calls"), "utf8").split("\n").slice(0, -1);
}

const cache = (): string => path.join(folder, "cache dir");
const OPTIONAL = existsSync("/etc/os-release") ? test : test.skip;

OPTIONAL("packages are fetched and laid out, and what they need to run is told", async () => {
  expect(canUnpackDebianPackages()).toBe(true);
  const progress: string[] = [];
  const { root, environment } = await unpackDebianPackages(["tool"], cache(), {
    progress: (text) => progress.push(text),
  });
  expect(existsSync(`${root}/usr/bin/tool`)).toBe(true);
  expect(environment.LD_LIBRARY_PATH?.split(":").slice(0, 2)).toEqual([
    `${root}/usr/lib/some-triplet`,
    `${root}/usr/lib/some-triplet/deeper`,
  ]);
  expect(progress).toEqual([
    expect.stringContaining("nothing is installed"),
    "downloading tool",
    "unpacking libtool",
    "unpacking tool",
  ]);
  expect(readdirSync(cache())).toEqual([path.basename(root)]);
});

OPTIONAL("the second time nothing is fetched; another list of packages is kept apart", async () => {
  const first = await unpackDebianPackages(["tool", "other"], cache());
  const count = calls().length;
  expect(await unpackDebianPackages(["other", "tool"], cache())).toEqual(first);
  expect(calls()).toHaveLength(count);
  expect((await unpackDebianPackages(["tool"], cache())).root).not.toBe(first.root);
});

OPTIONAL("two that ask at once share one download", async () => {
  const [first, second] = await Promise.all([
    unpackDebianPackages(["tool"], cache()),
    unpackDebianPackages(["tool"], cache()),
  ]);
  expect(second).toEqual(first);
  expect(calls().filter((call) => call.includes("install"))).toHaveLength(1);
});

OPTIONAL("what broke off half-way is never taken for whole, and leaves nothing behind", async () => {
  writeFileSync(path.join(folder, "breaks"), "");
  await expect(unpackDebianPackages(["tool"], cache())).rejects.toThrow("dpkg-deb failed (exit code 2)");
  expect(readdirSync(cache())).toEqual([]);
  rmSync(path.join(folder, "breaks"));
  const { root } = await unpackDebianPackages(["tool"], cache());

  // As a process that was killed leaves it.
  rmSync(root, { recursive: true });
  mkdirSync(`${root}.partial-abc/root`, { recursive: true });
  await unpackDebianPackages(["tool"], cache());
  expect(readdirSync(cache())).toEqual([path.basename(root)]);
});

const osRelease = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
const ON_DEBIAN = /^ID=debian$/m.test(osRelease) ? test : test.skip;

ON_DEBIAN("another release comes from this machine's mirror, and starts through its own loader", async () => {
  const codename = /^VERSION_CODENAME=(.*)$/m.exec(osRelease)?.[1];
  process.env["MIRRORS"] = `nodistro main http://other.test/\n${codename} main http://mirror.test/debian/`;
  program(
    "dpkg-deb",
    `mkdir -p "$3/usr/bin" "$3/usr/lib64" "$3/usr/lib/some-triplet"
     printf '#!/bin/sh\nprintf "%%s\\n" "$@"\n' > "$3/usr/lib64/ld-linux-test.so.2"
     chmod +x "$3/usr/lib64/ld-linux-test.so.2"
     touch "$3/usr/bin/tool" "$3/usr/lib/some-triplet/libtool.so.1"`,
  );
  const unpacked = await unpackDebianPackages(["tool"], cache(), { release: "sid" });

  expect(readFileSync(path.join(folder, "sources"), "utf8")).toMatch(
    /^deb \[signed-by=\S+\] http:\/\/mirror\.test\/debian\/ sid main\n$/,
  );
  // Its libc must not get into programs of this system.
  expect(unpacked.environment).toEqual({});
  const [programs = ""] = unpacked.programs;
  const root = `${programs}/..`;
  expect(await run(`${programs}/tool`, ["an argument", "another"])).toEqual([
    "--library-path",
    `${root}/usr/lib/some-triplet`,
    `${root}/usr/bin/tool`,
    "an argument",
    "another",
  ]);
  expect((await unpackDebianPackages(["tool"], cache())).root).not.toBe(unpacked.root);
});

ON_DEBIAN("another release without a mirror: said, and nothing fetched", async () => {
  process.env["MIRRORS"] = "nodistro main http://other.test/";
  const unpacking = unpackDebianPackages(["tool"], cache(), { release: "sid" });
  await expect(unpacking).rejects.toThrow("no mirror of Debian sid is known here");
  expect(calls().filter((call) => call.includes("install"))).toEqual([]);
  expect(readdirSync(cache())).toEqual([]);
});

OPTIONAL("an unknown package: apt's own words", async () => {
  await expect(unpackDebianPackages(["missing"], cache())).rejects.toMatchObject({
    message: "apt-get failed (exit code 100)",
    lines: ["E: Unable to locate package missing"],
  });
});
