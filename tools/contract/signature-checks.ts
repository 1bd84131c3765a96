import { newSecret } from "../../src/events/webhooks/signature.ts";
import { inWords, readRun } from "./answers.ts";
import { whyWrong, type Check } from "./check.ts";
import { TestOrder, type Response } from "./requests.ts";

/** A signature is valid for five minutes, before and after its time. */
const OFF_MS = 10 * 60_000;
/** Characters of a signature that is cut off: its version and six more. */
const SHORT_SIGNATURE = 9;

/** How a service must tell who has sent a request: docs/http-stages.md. */
export const SIGNATURE_CHECKS: readonly Check[] = [
  {
    name: "refuses what is not signed",
    needs: "secret",
    run: async (target) =>
      mustRefuse(await new TestOrder(target).run({ secrets: [] }), "a request without a signature"),
  },
  {
    name: "refuses what another secret has signed",
    needs: "secret",
    run: async (target) =>
      mustRefuse(
        await new TestOrder(target).run({ secrets: [newSecret()] }),
        "a signature of another secret",
      ),
  },
  {
    name: "refuses what was signed long ago",
    needs: "secret",
    async run(target) {
      const response = await new TestOrder(target).run({ at: new Date(Date.now() - OFF_MS) });
      const fault = mustRefuse(response, "a signature of ten minutes ago");
      return (
        fault &&
        `${fault}. Compare webhook-timestamp with the clock, or whoever recorded a request can send it again`
      );
    },
  },
  {
    name: "refuses what is dated in the future",
    needs: "secret",
    async run(target) {
      const response = await new TestOrder(target).run({ at: new Date(Date.now() + OFF_MS) });
      const fault = mustRefuse(response, "a signature that is dated ten minutes ahead");
      return (
        fault &&
        `${fault}. Refuse a webhook-timestamp that is more than five minutes off in either direction, or a request with a late date can be sent again until then`
      );
    },
  },
  {
    name: "compares the whole signature",
    needs: "secret",
    async run(target) {
      const changed = await new TestOrder(target).run({ signature: withOtherEnd });
      const short = await new TestOrder(target).run({
        signature: (right) => right.slice(0, SHORT_SIGNATURE),
      });
      const fault =
        mustRefuse(changed, "a signature whose last byte is wrong") ??
        mustRefuse(short, `the first ${SHORT_SIGNATURE} characters of the right signature`);
      return (
        fault &&
        `${fault}. Compare all of it, in constant time: whoever needs to guess only the beginning can try all of them`
      );
    },
  },
  {
    name: "verifies the signature over the bytes as they came",
    afterRun: true,
    needs: "secret",
    async run(target) {
      const order = new TestOrder(target);
      const answer = readRun(await order.run({ body: spelledDifferently(order.body) }), target);
      return (
        whyWrong(answer) &&
        `refused JSON with other spaces and escapes, signed all the same (${whyWrong(answer)}). Verify the raw body, before it is parsed: JSON that is written again has other bytes`
      );
    },
  },
  {
    name: "takes any of several signatures, so that secrets can be replaced",
    afterRun: true,
    needs: "secret",
    async run(target) {
      const { secret } = target;
      if (secret === undefined) return undefined;
      const fault = whyWrong(
        readRun(await new TestOrder(target).run({ secrets: [newSecret(), secret] }), target),
      );
      return (
        fault &&
        `refused a request whose second signature is right (${fault}). webhook-signature may have several, separated by spaces`
      );
    },
  },
];

function mustRefuse(response: Response, what: string): string | undefined {
  if (response.status === 401 || response.status === 403) return undefined;
  return `answered ${inWords(response)} to ${what}, instead of 401`;
}

/** The signature with its last byte changed. */
function withOtherEnd(right: string): string {
  const [version = "", digest = ""] = right.split(",");
  const bytes = Buffer.from(digest, "base64");
  bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
  return `${version},${bytes.toString("base64")}`;
}

/** The same JSON in other bytes: spaces, and an escape for every letter that needs none. */
function spelledDifferently(body: object): string {
  return JSON.stringify(body, undefined, 3).replaceAll("e", (letter, index: number, whole: string) =>
    isInString(whole, index) ? "\\u0065" : letter,
  );
}

/** Whether this place of a JSON text is in a string. Strings here have no escaped quotes. */
function isInString(text: string, index: number): boolean {
  return text.slice(0, index).split('"').length % 2 === 0;
}
