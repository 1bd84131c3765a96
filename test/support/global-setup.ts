import path from "node:path";
import { findBinaries } from "../../tools/launcher/servers/find.ts";
import { searchOptions } from "../../tools/launcher/servers/private-server.ts";
import { compileInto, makeRunFolder } from "../../tools/launcher/run-folder.ts";
import { removeAbandonedTempFolders } from "../../tools/launcher/temp-folder.ts";
import { startTestMysql, startTestRedis, type TestServer } from "./servers.ts";

declare global {
  // Jest runs setup and teardown in one process, and hands over nothing else.
  var conveyorTestServers: TestServer[] | undefined;
}

/** Lets what tests start by `npm start` find the servers that are asked for, wherever they were unpacked. */
async function offerWantedServers(): Promise<void> {
  const options = searchOptions();
  const wanted = (["mysql", "redis"] as const).filter((server) => options[server] !== undefined);
  const { binaries } = await findBinaries(wanted, options);
  for (const binary of Object.values(binaries))
    process.env["PATH"] += `${path.delimiter}${path.dirname(binary.path)}`;
}

/**
 * Compiles the sources for the processes that tests start: they start in half the time that they take through tsx.
 *
 * Starts one MySQL and one Redis for the whole run, never those of the environment: tests may wipe what they find.
 * TEST_MYSQL, `mysql` or `mariadb`, and TEST_REDIS, `redis` or `valkey`, choose which; the first that is found otherwise.
 * TEST_MYSQL_URL names no database; its user may create them. One database a test file keeps tests apart.
 */
export default async function globalSetup(): Promise<void> {
  removeAbandonedTempFolders();
  const [mysql, redis, code] = await Promise.all([
    startTestMysql(),
    startTestRedis(),
    compileInto(makeRunFolder("test")),
  ]);
  await offerWantedServers();
  globalThis.conveyorTestServers = [mysql, redis];
  process.env["TEST_MYSQL_URL"] = mysql.url;
  process.env["TEST_REDIS_URL"] = redis.url;
  process.env["TEST_CODE"] = code;
}
