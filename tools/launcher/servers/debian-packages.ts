import { createHash } from "node:crypto";
import {
  accessSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { Failure } from "../../shared/failure.ts";
import { withLock } from "../lock.js";
import { run } from "../run.ts";

/** Debian packages unpacked into a folder, not installed. */
export interface UnpackedPackages {
  /** The folder that takes the place of `/`. */
  root: string;
  /** The folders with their programs. */
  programs: string[];
  /** Lets the programs find the libraries in the packages. */
  environment: { LD_LIBRARY_PATH?: string };
}

export interface UnpackOptions {
  /** Called with a few words about what is being done. */
  progress?: (text: string) => void;
  /** A Debian release other than the system's, such as `sid`. Its packages bring their own libc. */
  release?: string;
}

/** The keys of all Debian releases, from the package `debian-archive-keyring`. */
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** The folder below the root with the scripts that start another release's programs. */
const STARTERS = "programs";
const MB = 1024 * 1024;
/** For apt's lists, the downloads, and what is in them: those of the servers. */
const NEEDED_MB = 250;
const PROGRAM_FOLDERS = ["usr/sbin", "usr/bin"];

/** Whether this system has apt and dpkg; root is not needed. */
export function canUnpackDebianPackages(): boolean {
  const folders = (process.env["PATH"] ?? "").split(path.delimiter);
  return ["apt-get", "dpkg-deb"].every((name) =>
    folders.some((folder) => existsSync(path.join(folder, name))),
  );
}

/**
 * Makes the programs of Debian or Ubuntu packages available without installing them and without root: apt
 * resolves and downloads the packages that this system lacks and checks their signatures, and we unpack them
 * into `folder`. Packages unpacked before are reused without the network. Safe to call from several processes
 * at once.
 *
 * The packages' install scripts are not run, so there are no users, services, caches or alternatives.
 *
 * @param folder where unpacked packages are kept, one subfolder for each list of names
 * @throws CommandFailed if a package is unknown or can't be downloaded; NoSuchRelease; Failure if the disk is too small
 */
export async function unpackDebianPackages(
  packageNames: readonly string[],
  folder: string,
  { progress = () => {}, release }: UnpackOptions = {},
): Promise<UnpackedPackages> {
  const root = path.join(path.resolve(folder), cacheKey(packageNames, release));
  if (!existsSync(root)) {
    await withLock(
      `${root}.lock`,
      async () => {
        if (!existsSync(root)) await fetchInto(root, packageNames, { progress, release });
      },
      ({ pid }) => progress(`waiting for process ${pid}, which is unpacking the same packages`),
    );
  }
  if (release !== undefined) return { root, programs: [path.join(root, STARTERS)], environment: {} };
  const programs = PROGRAM_FOLDERS.map((name) => path.join(root, name));
  const libraries = [...libraryFolders(root), process.env["LD_LIBRARY_PATH"]].filter(Boolean);
  return { root, programs, environment: { LD_LIBRARY_PATH: libraries.join(path.delimiter) } };
}

/** No Debian mirror is known that could provide the release. */
export class NoSuchRelease extends Error {
  override name = "NoSuchRelease";
}

/** Downloads and unpacks beside `root`, then renames into place, so that `root` is always complete. */
async function fetchInto(
  root: string,
  packageNames: readonly string[],
  { progress, release }: { progress: (text: string) => void; release: string | undefined },
): Promise<void> {
  removePartial(root);
  // Halfway, apt takes a full disk for bad signatures.
  const { bavail, bsize } = statfsSync(path.dirname(root));
  const freeMb = Math.floor((bavail * bsize) / MB);
  if (freeMb < NEEDED_MB) {
    const free = `no space is left on its disk: ${freeMb} MB are free, and packages need ${NEEDED_MB} MB`;
    throw new Failure(`Debian's packages can't be unpacked into ${path.dirname(root)}: ${free}`);
  }
  const work = mkdtempSync(`${root}.partial-`);
  try {
    const aptGet = prepareApt(work, release === undefined ? [] : await onlyRelease(work, release));
    progress(`fetching Debian packages into ${path.dirname(root)}; nothing is installed`);
    await aptGet(["update"]);
    await aptGet(
      ["install", "--yes", "--download-only", "--no-install-recommends", "--", ...packageNames],
      (line) => {
        const name = /^Get:\d+ \S+ \S+ \S+ (\S+)/.exec(line)?.[1];
        if (name) progress(`downloading ${name}`);
      },
    );
    const files = path.join(work, "root");
    mkdirSync(files);
    const archives = path.join(work, "archives");
    for (const archive of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
      progress(`unpacking ${archive.replace(/_.*/, "")}`);
      await run("dpkg-deb", ["--extract", path.join(archives, archive), files]);
    }
    if (release !== undefined) writeStarters(files);
    renameSync(files, root);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Removes what killed processes left behind; we hold the lock, so nobody else is using it. */
function removePartial(root: string): void {
  const folder = path.dirname(root);
  for (const name of readdirSync(folder)) {
    if (name.startsWith(`${path.basename(root)}.partial-`)) {
      rmSync(path.join(folder, name), { recursive: true, force: true });
    }
  }
}

type AptGet = (args: string[], onLine?: (line: string) => void) => Promise<string[]>;

/** An apt-get that writes only to `work` and reads the system's sources, keys and proxy settings. */
function prepareApt(work: string, settings: readonly string[] = []): AptGet {
  for (const name of ["lists/partial", "archives/partial"])
    mkdirSync(path.join(work, name), { recursive: true });
  const config = path.join(work, "apt.conf");
  writeFileSync(
    config,
    [
      // The system's hooks would change the system's caches.
      "#clear APT::Update::Post-Invoke;",
      "#clear APT::Update::Post-Invoke-Success;",
      `Dir::State::Lists "${work}/lists";`,
      `Dir::Cache "${work}";`,
      // The system's lock needs root, and we write nothing there.
      'Debug::NoLocking "true";',
      // Otherwise root downloads as user _apt, who can't write here.
      'APT::Sandbox::User "root";',
      'Acquire::Languages "none";',
      'Acquire::Retries "2";',
      'Acquire::http::Timeout "20";',
      'Acquire::https::Timeout "20";',
      ...settings,
      "",
    ].join("\n"),
  );
  // `-c` is read after the system's files; APT_CONFIG would be read before them.
  return (args, onLine) =>
    run("apt-get", ["-c", config, "-q", ...args], {
      env: { LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
      ...(onLine && { onLine }),
    });
}

/**
 * Settings that limit apt to one release, from the mirror this machine already uses, with no package counted as
 * installed, so that it downloads the libc too.
 *
 * @throws NoSuchRelease
 */
async function onlyRelease(work: string, release: string): Promise<string[]> {
  const own = osRelease("VERSION_CODENAME");
  const mirrors = await prepareApt(work)([
    "indextargets",
    "--no-release-info",
    "--format",
    "$(RELEASE) $(COMPONENT) $(REPO_URI)",
    "Created-By: Packages",
  ]);
  const prefix = `${own} main `;
  const mirror = mirrors.find((line) => line.startsWith(prefix))?.slice(prefix.length);
  if (osRelease("ID") !== "debian" || mirror === undefined || !existsSync(KEYRING)) {
    throw new NoSuchRelease(`no mirror of Debian ${release} is known here`);
  }
  const sources = path.join(work, "sources.list");
  writeFileSync(sources, `deb [signed-by=${KEYRING}] ${mirror} ${release} main\n`);
  writeFileSync(path.join(work, "status"), "");
  return [
    `Dir::Etc::SourceList "${sources}";`,
    'Dir::Etc::SourceParts "/dev/null";',
    'Dir::Etc::Preferences "/dev/null";',
    'Dir::Etc::PreferencesParts "/dev/null";',
    `Dir::State::Status "${work}/status";`,
  ];
}

/**
 * A libc works only with the loader of its own version, so each program gets a script of the same name that
 * starts it through the unpacked loader. Paths are relative, so that the folder can be moved and linked to.
 */
function writeStarters(root: string): void {
  const inRoot = (file: string): string => `"$root/${path.relative(root, file)}"`;
  const loader = ["usr/lib64", "usr/lib"]
    .flatMap((name) => entries(path.join(root, name)).map((file) => path.join(root, name, file)))
    .find((file) => /\/ld-linux[^/]*\.so\.\d+$/.test(file));
  if (loader === undefined) throw new Error("the packages contain no loader");
  const libraries = libraryFolders(root).map(inRoot).join(path.delimiter);
  mkdirSync(path.join(root, STARTERS));
  for (const folder of PROGRAM_FOLDERS.map((name) => path.join(root, name))) {
    for (const name of entries(folder)) {
      const start = [inRoot(loader), "--library-path", libraries, inRoot(path.join(folder, name)), '"$@"'];
      writeFileSync(
        path.join(root, STARTERS, name),
        `#!/bin/sh\nroot=\${0%/*}/..\nexec ${start.join(" ")}\n`,
        { mode: 0o755 },
      );
    }
  }
}

/** Includes release and architecture, since a folder may move from machine to machine. */
function cacheKey(packageNames: readonly string[], release = osRelease("VERSION_ID")): string {
  const list = packageNames.toSorted();
  const digest = createHash("sha256").update(list.join(" ")).digest("hex").slice(0, 8);
  return [`${osRelease("ID")}${release}`, process.arch, list[0], digest].join("-");
}

function osRelease(name: string): string {
  const text = readFileSync("/etc/os-release", "utf8");
  return new RegExp(`^${name}="?([^"\n]*)`, "m").exec(text)?.[1] ?? "";
}

/**
 * The folders under `root` with shared libraries. Some are a level deeper than usual: libpulsecommon, and
 * libblas, which an installed system reaches through a link made by update-alternatives.
 */
function libraryFolders(root: string): string[] {
  const folders: string[] = [];
  for (const base of ["usr/lib", "lib"].map((name) => path.join(root, name))) {
    for (const folder of [base, ...subfolders(base), ...subfolders(base).flatMap(subfolders)]) {
      if (entries(folder).some((name) => /^lib.*\.so(\.|$)/.test(name))) folders.push(folder);
    }
  }
  return folders;
}

function subfolders(folder: string): string[] {
  if (!isReadable(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => path.join(folder, entry.name));
}

function entries(folder: string): string[] {
  return isReadable(folder) ? readdirSync(folder) : [];
}

function isReadable(folder: string): boolean {
  try {
    accessSync(folder);
    return true;
  } catch {
    return false;
  }
}
