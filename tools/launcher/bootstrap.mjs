/**
 * node tools/launcher/bootstrap.mjs SCRIPT [ARGUMENT...]
 *
 * Runs a script of this project, even on a fresh clone. Checks Node's version, installs the dependencies if
 * they are missing or stale, and runs the script in this process, so signals, exit code and terminal are the
 * script's own. TypeScript goes through tsx.
 *
 * The syntax is plain so that an old Node gets far enough to report that it is too old.
 */
import fs from "fs";
import path from "path";
import url from "url";

const root = path.resolve(path.dirname(url.fileURLToPath(import.meta.url)), "../..");

function main(script, args) {
  const needed = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")).engines.node.replace(
    /[^\d.]/g,
    "",
  );
  if (isOlder(process.versions.node, needed)) {
    return fail(
      "Conveyor needs Node " +
        needed +
        " or newer; this is " +
        process.versions.node +
        ": https://nodejs.org",
    );
  }
  if (process.platform === "win32") {
    return fail(
      "Conveyor runs on Linux and macOS; on Windows, run it inside WSL: https://learn.microsoft.com/windows/wsl",
    );
  }
  if (script === undefined) {
    return fail("usage: node tools/launcher/bootstrap.mjs SCRIPT [ARGUMENT...]");
  }
  return install().then((ready) => ready && run(path.resolve(root, script), args));
}

function install() {
  return import("./dependencies.js")
    .then(({ ensureDependencies }) => ensureDependencies(root))
    .then(
      () => true,
      (error) => fail(error.message),
    );
}

function run(script, args) {
  process.argv = [process.execPath, script, ...args];
  const loader = script.endsWith(".ts") ? import("tsx") : Promise.resolve();
  return loader.then(() => import(url.pathToFileURL(script).href));
}

function isOlder(version, needed) {
  const parts = version.split(".").map(Number);
  const least = needed.split(".").map(Number);
  const differing = least.findIndex((part, index) => part !== parts[index]);
  return differing >= 0 && parts[differing] < least[differing];
}

function fail(message) {
  process.stderr.write(message + "\n");
  process.exitCode = 1;
  return false;
}

void main(process.argv[2], process.argv.slice(3));
