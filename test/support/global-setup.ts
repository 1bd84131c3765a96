import { removeAbandonedTempFolders } from "../../tools/launcher/temp-folder.ts";
import { startTestMysql, startTestRedis, type TestServer } from "./servers.ts";

declare global {
  // Jest runs setup and teardown in one process, and hands over nothing else.
  var conveyorTestServers: TestServer[] | undefined;
}

/**
 * Starts one MySQL and one Redis for the whole run, never those of the environment: tests may wipe what they find.
 * TEST_MYSQL_URL names no database; its user may create them. One database a test file keeps tests apart.
 */
export default async function globalSetup(): Promise<void> {
  removeAbandonedTempFolders();
  const [mysql, redis] = await Promise.all([startTestMysql(), startTestRedis()]);
  globalThis.conveyorTestServers = [mysql, redis];
  process.env["TEST_MYSQL_URL"] = mysql.url;
  process.env["TEST_REDIS_URL"] = redis.url;
}
