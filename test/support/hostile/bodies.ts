import { isUtf8 } from "node:buffer";
import { brotliCompressSync, constants, deflateSync, gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { API_LIMITS } from "../../../src/api/limits.ts";
import type { Operation } from "./description.ts";
import { hugeJson, nastyJson, nastyName, noJson, refusedText } from "./values.ts";

type Body = NonNullable<Operation["body"]>;

/** A body as it is sent: bytes, and the headers that go with them. */
export interface SentBody {
  readonly bytes: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
  readonly chunked?: boolean;
}

/** Small, and wrong in thousands of places. */
const MANY_FAULTS = `[${Array.from({ length: 900 }, () => "{}").join(",")}]`;

const JSON_TYPE = { "content-type": "application/json" };

/** The example with something wrong in it: another value in one place or in several, more of it or less of it. */
export function misshapen(body: Body): fc.Arbitrary<SentBody> {
  const changed = fc
    .uniqueArray(edit(body.example, nastyJson), { minLength: 1, maxLength: 3, selector: ({ at }) => at })
    .map((edits) => write(body.example, "", edits));
  return fc
    .oneof({ weight: 8, arbitrary: changed }, nastyJson)
    .filter((text) => isBad(body, Buffer.from(text)))
    .map(asJson);
}

/** The example with something huge in it, or with far too much of what it has. */
export function swollen(body: Body): fc.Arbitrary<SentBody> {
  const lists = placesOf(body.example).filter(({ value }) => Array.isArray(value));
  const repeated = fc
    .tuple(choice(lists), fc.constantFrom("2001", "6000"))
    .map(([{ at }, times]): Edit => ({ at, do: "repeat", json: times }));
  return fc
    .oneof(
      {
        weight: 1,
        arbitrary: choice(lists).map(({ at }): Edit => ({ at, do: "replace", json: MANY_FAULTS })),
      },
      { weight: 3, arbitrary: edit(body.example, hugeJson) },
      { weight: lists.length > 0 ? 1 : 0, arbitrary: repeated },
    )
    .map((change) => write(body.example, "", [change]))
    .filter((text) => isBad(body, Buffer.from(text)))
    .map(asJson);
}

/** The example with text in it that no field takes. */
export function refusedTexts(body: Body): fc.Arbitrary<SentBody> {
  const texts = placesOf(body.example).filter(({ value }) => typeof value === "string");
  if (texts.length === 0) return misshapen(body);
  return fc
    .tuple(fc.constantFrom(...texts), refusedText)
    .map(([{ at }, text]) => write(body.example, "", [{ at, do: "replace", json: JSON.stringify(text) }]))
    .map(asJson);
}

/** What is not even JSON: cut off, spoilt, something else in a place, or not UTF-8. */
export function unreadable(body: Body): fc.Arbitrary<SentBody> {
  const good = JSON.stringify(body.example);
  const place = fc.nat({ max: good.length });
  const spoilt = fc.oneof(
    fc
      .uniqueArray(edit(body.example, noJson), { minLength: 1, maxLength: 2, selector: ({ at }) => at })
      .map((edits) => Buffer.from(write(body.example, "", edits))),
    place.map((end) => Buffer.from(good.slice(0, end))),
    fc
      .tuple(place, fc.string({ unit: "binary", minLength: 1, maxLength: 3 }))
      .map(([at, text]) => insert(good, at, text)),
    fc
      .tuple(place, fc.uint8Array({ minLength: 1, maxLength: 4, min: 0x80 }))
      .map(([at, bytes]) => insert(good, at, bytes)),
    fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom(
      Buffer.from(good, "utf16le"),
      Buffer.from(good + good),
      Buffer.from(`${good}\0`),
      Buffer.from(`)]}',\n${good}`),
      Buffer.from("customerId=cust-1&currency=EUR"),
      Buffer.from("<order/>"),
      Buffer.from("--x\r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--x--"),
      Buffer.from("["),
      Buffer.from("[".repeat(API_LIMITS.bodyBytes)),
      Buffer.from('"'.repeat(20_001)),
    ),
  );
  return fc
    .tuple(spoilt, fc.boolean())
    .filter(([bytes]) => isBad(body, bytes))
    .map(([bytes, chunked]) => ({ bytes, headers: JSON_TYPE, chunked }));
}

/** A good body of a type, or in a charset, that is not taken. */
export function mistyped(body: Body): fc.Arbitrary<SentBody> {
  const bytes = Buffer.from(JSON.stringify(body.example));
  const types = fc.constantFrom(
    undefined,
    "",
    "text/plain",
    "text/json",
    "text/html; charset=utf-8",
    "application/xml",
    "application/x-www-form-urlencoded",
    "application/x-www-form-urlencoded; charset=utf-8; a=b",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/octet-stream",
    "application/jsonp",
    "application",
    "json",
    "*/*",
    "/",
    ";",
    "application/ json",
    "application/json/json",
    "application/json; charset=latin1",
    "application/json; charset=utf-99",
    "application/json; charset=utf-16",
    "application/json; charset=constructor",
    "é/\u0080",
    "x/".repeat(3_000),
  );
  const typed = types.map((type) => ({ bytes, headers: type === undefined ? {} : { "content-type": type } }));
  return fc.oneof({ weight: 3, arbitrary: typed }, otherwiseEncoded(bytes.toString()));
}

/** A good body in a charset that it says, and that is not taken. */
function otherwiseEncoded(text: string): fc.Arbitrary<SentBody> {
  const wide = Buffer.from(text, "utf16le");
  const wider = Buffer.from(
    Array.from(text).flatMap((each) => [each.charCodeAt(0) % 256, each.charCodeAt(0) >> 8, 0, 0]),
  );
  return fc
    .constantFrom<[string, Buffer]>(
      ["utf-7", Buffer.from(text)],
      ["UTF-7", Buffer.from(text.replaceAll('"', "+ACI-"))],
      ["utf-16", Buffer.concat([Buffer.from([0xff, 0xfe]), wide])],
      ["utf-16le", wide],
      ["utf-16be", Buffer.from(wide).swap16()],
      ["utf-32", Buffer.concat([Buffer.from([0xff, 0xfe, 0, 0]), wider])],
      ["utf-32le", wider],
      ["utf-32be", Buffer.from(wider).swap32()],
    )
    .map(([charset, bytes]) => ({
      bytes,
      headers: { "content-type": `application/json; charset=${charset}` },
    }));
}

/** A good body in an encoding that is not taken, cut off in one that is, or far larger than it looks. */
export function misencoded(body: Body): fc.Arbitrary<SentBody> {
  const good = JSON.stringify(body.example);
  const cutOff = fc
    .tuple(
      fc.constantFrom("gzip", "deflate", "br"),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    )
    .map(([encoding, part]): [string, Uint8Array] => {
      const whole = { gzip: gzipSync(good), deflate: deflateSync(good), br: brotliCompressSync(good) }[
        encoding
      ];
      // An empty body is none that is cut off.
      return [encoding, whole.subarray(0, 1 + Math.floor(part * (whole.length - 1)))];
    });
  // No random bytes for brotli: one of them may be an empty text.
  const nonsense = fc.oneof(
    fc.tuple(fc.constantFrom("gzip", "deflate", "br"), fc.constant(Buffer.from(good))),
    fc.tuple(fc.constantFrom("gzip", "deflate"), fc.uint8Array({ minLength: 1, maxLength: 200 })),
  );
  const unknown = fc
    .constantFrom(
      "zip",
      "gzip, gzip",
      "gzip;q=1",
      "x",
      "compress",
      "zstd",
      "utf-8",
      "*",
      "gzip\t,",
      "g".repeat(5_000),
    )
    .map((encoding): [string, Uint8Array] => [encoding, Buffer.from(good)]);
  const bomb = fc
    .constantFrom("gzip", "deflate", "br")
    .map((encoding): [string, Uint8Array] => [encoding, bombs()[encoding]]);
  return fc
    .oneof({ weight: 3, arbitrary: cutOff }, nonsense, unknown, bomb)
    .map(([encoding, bytes]) => ({ bytes, headers: { ...JSON_TYPE, "content-encoding": encoding } }));
}

/** 16 MiB of spaces, in a few kilobytes. */
function bombs() {
  if (madeBombs === undefined) {
    const spaces = Buffer.alloc(16 * 1024 * 1024, " ");
    madeBombs = {
      gzip: gzipSync(spaces),
      deflate: deflateSync(spaces),
      br: brotliCompressSync(spaces, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }),
    };
  }
  return madeBombs;
}
let madeBombs: Record<"gzip" | "deflate" | "br", Buffer> | undefined;

/** A good body with so much space in it, or so long a text, that it is over the limit: by one byte or by far. */
export function oversized(body: Body): fc.Arbitrary<SentBody> {
  const good = JSON.stringify(body.example);
  const size = fc.oneof(
    fc.constant(API_LIMITS.bodyBytes + 1),
    fc.integer({ min: API_LIMITS.bodyBytes + 1, max: 3 * API_LIMITS.bodyBytes }),
  );
  return fc
    .tuple(size, fc.constantFrom(" ", "x", "é", "[", '"\\'), fc.boolean(), fc.boolean())
    .map(([bytes, unit, chunked, zipped]) => {
      const padding = unit.repeat(bytes / Buffer.byteLength(unit) + 1);
      const large = Buffer.from(unit === " " ? padding + good : `{"x":"${padding}`);
      return {
        bytes: zipped ? gzipSync(large, { level: 1 }) : large,
        headers: zipped ? { ...JSON_TYPE, "content-encoding": "gzip" } : JSON_TYPE,
        chunked,
      };
    });
}

/** The body that nothing is wrong with. */
export function goodBody(body: Body): SentBody {
  return asJson(JSON.stringify(body.example));
}

/** A body that says that it is JSON. */
export function asJson(content: string | Uint8Array): SentBody {
  return { bytes: Buffer.from(content), headers: JSON_TYPE };
}

/** Whether the API says of itself that it does not take this. */
function isBad(body: Body, bytes: Uint8Array): boolean {
  if (!isUtf8(bytes)) return true;
  const text = new TextDecoder().decode(bytes);
  try {
    // No body at all counts as an empty object.
    return !body.takes(text === "" ? {} : JSON.parse(text));
  } catch {
    return true;
  }
}

function insert(text: string, at: number, what: string | Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(text.slice(0, at)), Buffer.from(what), Buffer.from(text.slice(at))]);
}

/** A change to JSON at one place, which is named as JSON Pointer (RFC 6901) does, without its escapes. */
interface Edit {
  readonly at: string;
  readonly do: "replace" | "remove" | "add" | "repeat";
  /** A value; to be added, a member or an item. */
  readonly json: string;
}

interface Place {
  readonly at: string;
  readonly value: unknown;
}

function placesOf(value: unknown, at = ""): Place[] {
  const within = isContainer(value) ? Object.entries(value) : [];
  return [{ at, value }, ...within.flatMap(([name, inner]) => placesOf(inner, `${at}/${name}`))];
}

function edit(example: unknown, json: fc.Arbitrary<string>): fc.Arbitrary<Edit> {
  const places = placesOf(example);
  const anywhere = fc.constantFrom(...places);
  const inside = places.filter(({ at }) => at !== "");
  const objects = places.filter(({ value }) => isContainer(value) && !Array.isArray(value));
  return fc.oneof(
    {
      weight: 5,
      arbitrary: fc.tuple(anywhere, json).map(([{ at }, text]): Edit => ({ at, do: "replace", json: text })),
    },
    {
      weight: objects.length > 0 ? 2 : 0,
      arbitrary: fc
        .tuple(
          choice(objects),
          fc.oneof(
            nastyName,
            choice(inside).map(({ at }) => at.replace(/.*\//, "")),
          ),
          json,
        )
        .map(([{ at }, name, text]): Edit => ({ at, do: "add", json: `${JSON.stringify(name)}:${text}` })),
    },
    {
      weight: inside.length > 0 ? 1 : 0,
      arbitrary: choice(inside).map(({ at }): Edit => ({ at, do: "remove", json: "" })),
    },
  );
}

/** One of them; of none, nothing that is ever asked for. */
function choice(places: readonly Place[]): fc.Arbitrary<Place> {
  return places.length > 0 ? fc.constantFrom(...places) : fc.constant({ at: "", value: null });
}

function write(value: unknown, at: string, edits: readonly Edit[]): string {
  const here = edits.find((each) => each.at === at);
  if (here?.do === "replace") return here.json;
  if (!isContainer(value)) return JSON.stringify(value);
  const parts = Object.entries(value)
    .filter(([name]) => !edits.some((each) => each.do === "remove" && each.at === `${at}/${name}`))
    .map(([name, inner]) => {
      const text = write(inner, `${at}/${name}`, edits);
      return Array.isArray(value) ? text : `${JSON.stringify(name)}:${text}`;
    });
  if (here?.do === "add") parts.push(here.json);
  const times = here?.do === "repeat" ? Number(here.json) : 1;
  const all = Array.from({ length: times }, () => parts.join(",")).join(",");
  return Array.isArray(value) ? `[${all}]` : `{${all}}`;
}

function isContainer(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}
