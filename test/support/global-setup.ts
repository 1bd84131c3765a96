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

/** Lets what tests start by `npm start` find the server that TEST_MYSQL asks for, wherever that was unpacked. */
async function offerWantedMysql(): Promise<void> {
  const options = searchOptions();
  const { mysql } = options.mysql ? (await findBinaries(["mysql"], options)).binaries : {};
  if (mysql) process.env["PATH"] += `${path.delimiter}${path.dirname(mysql.path)}`;
}

/**
 * Compiles the sources for the processes that tests start: they start in half the time that they take through tsx.
 *
 * Starts one MySQL and one Redis for the whole run, never those of the environment: tests may wipe what they find.
 * TEST_MYSQL, `mysql` or `mariadb`, chooses which; the first that is found otherwise.
 * TEST_MYSQL_URL names no database; its user may create them. One database a test file keeps tests apart.
 */
export default async function globalSetup(): Promise<void> {
  removeAbandonedTempFolders();
  const [mysql, redis, code] = await Promise.all([
    startTestMysql(),
    startTestRedis(),
    compileInto(makeRunFolder("test")),
  ]);
  await offerWantedMysql();
  globalThis.conveyorTestServers = [mysql, redis];
  process.env["TEST_MYSQL_URL"] = mysql.url;
  process.env["TEST_REDIS_URL"] = redis.url;
  process.env["TEST_CODE"] = code;
}
