import {
  startPrivateMysql,
  startPrivateRedis,
  type PrivateServer,
} from "../../tools/launcher/servers/private-server.ts";
import { endWithJest } from "./end-with-jest.ts";

/** A server that belongs to a test. It ends with this process, however that ends. */
export type TestServer = PrivateServer;

/** An empty private Redis. `args` go to its command line: `["--maxmemory", "10mb"]`. */
export async function startTestRedis(
  options: { args?: string[]; password?: string } = {},
): Promise<TestServer> {
  endWithJest();
  return startPrivateRedis(options);
}

/** An empty private MySQL; its user may do everything. `args` go to its command line. */
export async function startTestMysql(options: { args?: string[] } = {}): Promise<TestServer> {
  endWithJest();
  return startPrivateMysql(options);
}
