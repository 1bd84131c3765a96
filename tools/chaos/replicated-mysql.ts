import { randomBytes } from "node:crypto";
import { Failure } from "../shared/failure.ts";
import { startPrivateMysql, type PrivateServer } from "../launcher/servers/private-server.ts";
import { number, Sql, text } from "./sql.ts";
import { startTcpProxy } from "../shared/tcp-proxy.ts";

const OBSERVER = "observer";
/** Seconds for the replica to catch up with the primary. */
const CATCH_UP_S = 30;

/** A MariaDB primary and its replica, behind one address. */
export interface ReplicatedMysql {
  readonly primary: PrivateServer;
  readonly replica: PrivateServer;
  /** Leads to the current primary, with an account that has all rights on both servers. Names no database. */
  readonly url: string;
  /** Promotes the replica, as an orchestrator would. The service's connections to the old primary stay open. */
  failOver(): Promise<Failover>;
  close(): Promise<void>;
}

/** The times of a failover, milliseconds since 1970. */
export interface Failover {
  /** When the old primary stopped accepting writes. */
  readonly readOnlyAt: number;
  /** When the new primary started accepting writes and new connections. */
  readonly turnedAt: number;
}

/** Starts both and waits until the replica has caught up. @throws {Failure} if the server is not MariaDB */
export async function startReplicatedMysql(): Promise<ReplicatedMysql> {
  const opened: (() => Promise<unknown> | void)[] = [];
  const close = async (): Promise<void> => {
    for (const each of opened.splice(0).toReversed()) await each();
  };
  const started = async (args: string[]): Promise<[PrivateServer, Sql]> => {
    const server = await startPrivateMysql({ args });
    opened.push(async () => {
      server.kill("SIGCONT");
      await server.stop();
    });
    if (!server.version.includes("MariaDB"))
      throw new Failure(`the failover needs MariaDB's replication, but this is ${server.version}`);
    const sql = new Sql(server.url);
    opened.push(() => sql.close());
    return [server, sql];
  };
  try {
    const [primary, old] = await started(["--server-id=1", "--log-bin", "--binlog-format=ROW"]);
    const [replica, next] = await started(["--server-id=2"]);
    await follow(next, primary, await binlogPosition(old));
    const password = randomBytes(12).toString("hex");
    for (const host of ["localhost", "127.0.0.1"]) {
      await old.rows(`CREATE USER '${OBSERVER}'@'${host}' IDENTIFIED BY '${password}'`);
      await old.rows(`GRANT ALL PRIVILEGES ON *.* TO '${OBSERVER}'@'${host}' WITH GRANT OPTION`);
    }
    await caughtUp(next, await binlogPosition(old));
    const address = await startTcpProxy(primary.url);
    opened.push(() => address.close());
    return {
      primary,
      replica,
      url: `mysql://${OBSERVER}:${password}@127.0.0.1:${address.port}`,
      async failOver() {
        const readOnlyAt = Date.now();
        await old.rows("SET GLOBAL read_only = 1");
        await caughtUp(next, await binlogPosition(old));
        await next.rows("STOP SLAVE");
        await next.rows("SET GLOBAL read_only = 0");
        address.turnTo(replica.port);
        const turnedAt = Date.now();
        // Otherwise observers would keep their connections to the old primary.
        await disconnect(old, OBSERVER);
        return { readOnlyAt, turnedAt };
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function follow(replica: Sql, primary: PrivateServer, position: string): Promise<void> {
  const { username, password } = new URL(primary.url);
  await replica.rows("SET GLOBAL gtid_slave_pos = ?", [position]);
  await replica.rows(
    `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${primary.port}, MASTER_USER = '${username}',
      MASTER_PASSWORD = '${password}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1`,
  );
  await replica.rows("START SLAVE");
  await replica.rows("SET GLOBAL read_only = 1");
}

async function binlogPosition(sql: Sql): Promise<string> {
  return text((await sql.rows("SELECT @@gtid_binlog_pos AS position"))[0]?.["position"]);
}

/** @throws {Failure} */
async function caughtUp(replica: Sql, position: string): Promise<void> {
  const [row] = await replica.rows("SELECT MASTER_GTID_WAIT(?, ?) AS late", [position, CATCH_UP_S]);
  if (number(row?.["late"]) !== 0)
    throw new Failure(`the replica did not reach ${position} within ${CATCH_UP_S} s`);
}

async function disconnect(sql: Sql, user: string): Promise<void> {
  const rows = await sql.rows("SELECT id FROM information_schema.processlist WHERE user = ?", [user]);
  // The connection may have closed in the meantime.
  for (const row of rows) await sql.rows(`KILL ${number(row["id"])}`).catch(() => undefined);
}
