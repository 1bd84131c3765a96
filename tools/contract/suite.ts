import { openCallbackAddress } from "./callbacks.ts";
import { faultOfCallback, inWords, readRun, readUndo } from "./answers.ts";
import { differs, isDone, Skipped, spoken, whyWrong, type Check } from "./check.ts";
import { PROVIDER_CHECKS } from "./provider-checks.ts";
import { AWAY } from "../../src/providers/http/service-client.ts";
import { ping, TestOrder, type Response, type Target } from "./requests.ts";
import { SIGNATURE_CHECKS } from "./signature-checks.ts";

/** What a check found. */
export interface Finding {
  /** What the contract asks for. */
  readonly check: string;
  /** `skipped` says why in `detail`; `wrong` says what the service did, and what to do. */
  readonly result: "right" | "wrong" | "skipped";
  readonly detail?: string;
}

/** How many times as long as an answer a result may take, and so its repetition. */
const CALLBACK_PATIENCE = 2;
/** As many as an order may have. */
const MOST_LINES = 2_000;

/**
 * Finds out what a service gets wrong of docs/http-stages.md, or of docs/providers.md. It sends runs and undos of orders that do not exist, which
 * take effect there.
 *
 * @param onFinding is told each finding as soon as there is one
 */
export async function runSuite(
  target: Target,
  { hasUndo, onFinding }: { readonly hasUndo: boolean; readonly onFinding?: (finding: Finding) => void },
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const checks = [...CHECKS, ...PROVIDER_CHECKS];
  for (const check of checks.filter(({ of }) => of?.includes(target.role.name) ?? true)) {
    const { name, needs, afterRun } = check;
    const finding = (result: Finding["result"], detail?: string): Finding => ({
      check: name,
      result,
      ...(detail !== undefined && { detail }),
    });
    const look = async (): Promise<Finding> => {
      if (needs === "secret" && target.secret === undefined) return finding("skipped", "no secret is given");
      if (needs === "undo" && !hasUndo) return finding("skipped", "the stage has no undo");
      if (afterRun && findings[0]?.result === "wrong") return finding("skipped", "a plain run fails");
      const found = await check.run(target);
      if (found instanceof Skipped) return finding("skipped", found.why);
      return found === undefined ? finding("right") : finding("wrong", found);
    };
    const found = await look();
    findings.push(found);
    onFinding?.(found);
  }
  return findings;
}

const CHECKS: readonly Check[] = [
  {
    name: "answers a run, in time and as the contract says",
    run: async (target) => whyWrong(readRun(await new TestOrder(target).run(), target)),
  },
  {
    name: "answers a ping",
    async run(target) {
      const response = await ping(target);
      if (response.status === undefined) return `did not answer a GET: ${inWords(response)}`;
      if (AWAY.has(response.status))
        return `answered a GET with ${inWords(response)}: while it does, Conveyor takes the service for away. Anything but 502, 503 and 504 will do`;
      return undefined;
    },
  },
  ...SIGNATURE_CHECKS,
  {
    name: "refuses a body that is not JSON with 400 or 422",
    async run(target) {
      const response = await new TestOrder(target).run({ body: "{no JSON" });
      if (response.status === 400 || response.status === 422) return undefined;
      return `answered ${inWords(response)} to a signed body that is not JSON`;
    },
  },
  {
    name: "ignores fields that it does not know",
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target, { ...target.order, "field-of-tomorrow": { a: [1] } });
      const body = JSON.stringify({ ...order.body, "another-field": true });
      const fault = whyWrong(readRun(await order.run({ body }), target));
      return fault && `${fault}. Later versions of Conveyor may send more fields`;
    },
  },
  {
    name: `takes an order of ${MOST_LINES} lines`,
    of: ["stage", "inventory", "carrier"],
    afterRun: true,
    async run(target) {
      const line = (index: number) => ({ sku: `SKU-${index}`, quantity: 1, unitPrice: 1 });
      const lines = Array.from({ length: MOST_LINES }, (_, index) => line(index));
      return whyWrong(readRun(await new TestOrder(target, { ...target.order, lines }).run(), target));
    },
  },
  {
    name: "gives the same answer to the same webhook-id",
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      const first = readRun(await order.run(), target);
      const second = readRun(await order.run({ attempt: 2 }), target);
      const fault = whyWrong(first) ?? whyWrong(second);
      if (fault !== undefined) return fault;
      if (first.is === "later") return new Skipped("the service did not decide at once");
      return differs(first, second)
        ? `answered ${spoken(first)} first, then ${spoken(second)}. Store the answer under webhook-id, in the same transaction as its effect, and return it again`
        : undefined;
    },
  },
  {
    name: "posts the result to the callback after a 202, and again if it is not taken",
    of: ["stage"],
    afterRun: true,
    async run(target) {
      const address = await openCallbackAddress();
      const patienceMs = CALLBACK_PATIENCE * target.timeoutMs;
      try {
        const { status } = await new TestOrder(target).run({ callback: address.url });
        if (status !== 202) return new Skipped("the service did not answer 202");
        if (!(await address.came(1, patienceMs, target.signal)))
          return `answered 202, and sent nothing to ${address.url} within ${patienceMs / 1_000} s`;
        if (!(await address.came(2, patienceMs, target.signal)))
          return "sent its result once, and not again after a 503: the order would wait for minutes";
        return address.bodies.map(faultOfCallback).find((fault) => fault !== undefined);
      } finally {
        address.close();
      }
    },
  },
  {
    name: "gives one answer to the same webhook-id twice at once",
    afterRun: true,
    async run(target) {
      const order = new TestOrder(target);
      const responses = await Promise.all([order.run(), order.run(), order.run(), order.run()]);
      // One that is still at it may say so.
      const answers = responses.filter(({ status }) => status !== 409).map((each) => readRun(each, target));
      const fault = answers.map(whyWrong).find((each) => each !== undefined);
      if (fault !== undefined) return fault;
      const [first, ...others] = answers.filter(({ is }) => is === "final");
      const other = first && others.find((each) => differs(first, each));
      return (
        other &&
        `answered ${spoken(first)} and ${spoken(other)} to requests at the same time. Lock the id while a request is worked on`
      );
    },
  },
  {
    name: "undoes what it has done, once",
    afterRun: true,
    needs: "undo",
    async run(target) {
      const order = new TestOrder(target);
      await order.run();
      const first = readUndo(await order.undo(), target);
      const second = readUndo(await order.undo({ attempt: 2 }), target);
      const fault = whyWrong(first) ?? whyWrong(second);
      if (fault !== undefined) return fault;
      return first.is === "final" && differs(first, second)
        ? `answered ${spoken(first)} to the first undo, and ${spoken(second)} to the second`
        : undefined;
    },
  },
  {
    name: "has no effect, and answers 410, when a run comes after its undo",
    afterRun: true,
    needs: "undo",
    async run(target) {
      const order = new TestOrder(target);
      await order.run();
      await order.undo();
      return mustBeUndone(await order.run({ attempt: 2 }), target);
    },
  },
  {
    name: "undoes what was never done, and refuses its run for ever",
    afterRun: true,
    needs: "undo",
    async run(target) {
      const order = new TestOrder(target);
      const undone = whyWrong(readUndo(await order.undo(), target));
      if (undone !== undefined)
        return `${undone}, for an order that was never run. There is nothing to undo, which is success`;
      return mustBeUndone(await order.run(), target);
    },
  },
  {
    name: "keeps orders apart",
    afterRun: true,
    needs: "undo",
    async run(target) {
      const [one, other] = [new TestOrder(target), new TestOrder(target)];
      await one.run();
      await one.undo();
      const answer = readRun(await other.run(), target);
      if (answer.is === "undone") return "answered 410 to the run of an order because another one was undone";
      return whyWrong(answer);
    },
  },
  {
    name: "keeps the operations on one order apart by their webhook-ids",
    of: ["stage", "payments", "carrier"],
    afterRun: true,
    needs: "undo",
    async run(target) {
      const order = new TestOrder(target);
      const one = readRun(await order.run(), target);
      const response = await order.runAnother();
      if (response === undefined) return new Skipped("there is no other operation");
      const other = readRun(response, target);
      if (target.role.name === "stage" && other.is === "wrong")
        return new Skipped(`the service knows this stage alone (${other.why})`);
      const fault = whyWrong(one) ?? whyWrong(other);
      if (fault !== undefined) return `${fault}, to two operations on one order`;
      // What a provider answers names the charge or the parcel; that of a stage may be the same.
      if (target.role.name !== "stage" && isDone(one) && !differs(one, other))
        return `answered ${spoken(one)} to two webhook-ids of one order. ${BY_ID}`;
      await order.undo();
      const { is } = readRun((await order.runAnother()) ?? response, target);
      return is === "undone"
        ? `answered 410 to a run because another operation on the order was undone. ${BY_ID}`
        : undefined;
    },
  },
];

const BY_ID = "Store effects and undos under webhook-id, not under the order's id";

function mustBeUndone(response: Response, target: Target): string | undefined {
  const answer = readRun(response, target);
  if (answer.is === "undone") return undefined;
  const fault = answer.is === "wrong" ? answer.why : `answered ${spoken(answer)}`;
  return `${fault} to a run that came after its undo, instead of 410: nobody would undo it again`;
}
