import { describe, expect, test } from "@jest/globals";
import { DrizzleQueryError } from "drizzle-orm";
import { afterCommitWasSent, DatabaseError, withoutValues } from "../../../db/errors.ts";
import type { FailureKind } from "../../../src/platform/storage-error.ts";
import { isDatabaseAway, isDatabaseUnavailable, failureKindOf } from "../../../src/platform/storage-error.ts";

type Row = readonly [code: string, errno: number | undefined, kind: FailureKind];

const ROWS: readonly Row[] = [
  ["ER_DUP_ENTRY", 1062, "item"],
  ["ER_CHECK_CONSTRAINT_VIOLATED", 3819, "item"],
  ["ER_CONSTRAINT_FAILED", 4025, "item"],
  ["ER_BAD_NULL_ERROR", 1048, "item"],
  ["ER_WARN_DATA_OUT_OF_RANGE", 1264, "item"],
  ["ER_TRUNCATED_WRONG_VALUE", 1292, "item"],
  ["ER_TRUNCATED_WRONG_VALUE_FOR_FIELD", 1366, "item"],
  ["ER_DATA_TOO_LONG", 1406, "item"],
  ["ER_DATA_OUT_OF_RANGE", 1690, "item"],
  ["ER_NET_PACKET_TOO_LARGE", 1153, "item"],
  ["ER_INVALID_JSON_TEXT", 3140, "item"],
  ["ER_LOCK_DEADLOCK", 1213, "contended"],
  ["ER_LOCK_WAIT_TIMEOUT", 1205, "contended"],
  ["ER_LOCK_NOWAIT", 3572, "contended"],
  ["ER_CHECKREAD", 1020, "contended"],
  ["ER_TRANSACTION_ROLLBACK_DURING_COMMIT", 3101, "contended"],
  ["ER_OPTION_PREVENTS_STATEMENT", 1290, "away"],
  ["ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION", 1792, "away"],
  ["ER_READ_ONLY_MODE", 1836, "away"],
  ["ER_RECORD_FILE_FULL", 1114, "away"],
  ["ER_DISK_FULL", 1021, "away"],
  ["ER_USER_LIMIT_REACHED", 1226, "away"],
  ["ER_ACCESS_DENIED_ERROR", 1045, "away"],
  ["ER_DBACCESS_DENIED_ERROR", 1044, "away"],
  ["ER_TABLEACCESS_DENIED_ERROR", 1142, "away"],
  ["ER_UNKNOWN_COM_ERROR", 1047, "away"],
  ["ER_HOST_IS_BLOCKED", 1129, "away"],
  ["ER_QUERY_INTERRUPTED", 1317, "away"],
  ["ER_STATEMENT_TIMEOUT", 1969, "away"],
  ["ER_QUERY_TIMEOUT", 3024, "away"],
  ["ER_CON_COUNT_ERROR", 1040, "away"],
  ["ER_SERVER_SHUTDOWN", 1053, "away"],
  ["ER_TOO_MANY_USER_CONNECTIONS", 1203, "away"],
  ["ER_CONNECTION_KILLED", 1927, "away"],
  ["ER_SESSION_WAS_KILLED", 3169, "away"],
  ["ER_NO_SUCH_TABLE", 1146, "away"],
  ["ER_A_NUMBER_OF_TOMORROW", 54_321, "away"],
  ["ECONNREFUSED", undefined, "away"],
];

test.each([
  ["ER_ERROR_DURING_COMMIT", 1180, true],
  ["ER_BINLOG_LOGGING_IMPOSSIBLE", 1598, true],
  ["ER_ERROR_ON_WRITE", 1026, true],
  ["CR_SERVER_LOST", 2013, true],
  ["ERROR_9001", 9001, true],
  ["ER_A_NUMBER_OF_TOMORROW", 54_321, true],
  ["ECONNRESET", undefined, true],
  ["TIMEOUT", undefined, true],
  ["CONNECTION_CLOSED", undefined, false],
  ["ER_DUP_ENTRY", 1062, false],
  ["ER_LOCK_DEADLOCK", 1213, false],
  ["ER_TRANSACTION_ROLLBACK_DURING_COMMIT", 3101, false],
  ["ER_OPTION_PREVENTS_STATEMENT", 1290, false],
  ["ER_NO_SUCH_TABLE", 1146, false],
])("after COMMIT was sent, %s (%s) leaves the outcome unknown: %s", (code, errno, isUnknown) => {
  expect(afterCommitWasSent(new DatabaseError(code, errno))).toMatchObject({ code, isUnknown });
});

describe("an error of the database", () => {
  test.each(ROWS)("%s (%s): %s", (code, errno, kind) => {
    const error = new DatabaseError(code, errno);
    expect(error.kind).toBe(kind);
    expect([isDatabaseAway(error), isDatabaseUnavailable(error), failureKindOf(error)]).toEqual([
      kind === "away",
      kind !== "item",
      kind,
    ]);
    expect(error.endsConnection).toBe(kind === "away" || errno === 1153);
  });

  test.each([
    ["ECONNREFUSED", undefined, "MySQL did not answer: ECONNREFUSED"],
    ["ER_OPTION_PREVENTS_STATEMENT", 1290, "MySQL takes no writes: it is read-only (1290)"],
    ["ER_RECORD_FILE_FULL", 1114, "MySQL takes no writes: the table is full (1114)"],
    ["ER_ACCESS_DENIED_ERROR", 1045, "MySQL refused the statement: ER_ACCESS_DENIED_ERROR (1045)"],
  ])("%s says what it is", (code, errno, message) => {
    expect(new DatabaseError(code, errno).message).toBe(message);
  });
});

test("an error of the driver keeps its number and its code, and loses the values of the statement", () => {
  const cause = Object.assign(new Error("Data too long: tok_secret"), {
    code: "ER_DATA_TOO_LONG",
    errno: 1406,
  });
  const error = withoutValues(new DrizzleQueryError("INSERT", ["tok_secret"], cause));
  expect(error).toMatchObject({ name: "DatabaseError", code: "ER_DATA_TOO_LONG", errno: 1406, kind: "item" });
  expect(String(error)).not.toContain("tok_secret");
});

test("a number that the driver has no name for is kept", () => {
  const cause = Object.assign(new Error("Query execution was interrupted"), { code: undefined, errno: 1969 });
  for (const error of [cause, new DrizzleQueryError("SELECT", [], cause)])
    expect(withoutValues(error)).toMatchObject({ name: "DatabaseError", errno: 1969, kind: "away" });
});

test("any other error stays what it is", () => {
  const error = new RangeError("business says no");
  expect(withoutValues(error)).toBe(error);
});
