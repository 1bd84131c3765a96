import { TEST_KEY } from "./processes.ts";

/** One line of what a process tells Prometheus. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** What a scrape gave. */
export class Scrape {
  readonly text: string;
  readonly samples: readonly Sample[];

  constructor(text: string) {
    this.text = text;
    this.samples = text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => {
        const [, name = "", labels = "", value = ""] = LINE.exec(line) ?? [];
        if (name === "") throw new Error(`not a sample: ${line}`);
        return { name, labels: labelsOf(labels), value: Number(value) };
      });
  }

  /** The samples of a name that have these labels, and perhaps more. */
  all(name: string, labels: Readonly<Record<string, string>> = {}): Sample[] {
    return this.samples.filter(
      (sample) =>
        sample.name === name &&
        Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    );
  }

  /** The value of the one such sample; undefined when there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number | undefined {
    const [sample, ...more] = this.all(name, labels);
    if (more.length > 0) throw new Error(`several samples are ${name} ${JSON.stringify(labels)}`);
    return sample?.value;
  }

  /** Every name, those of a histogram's parts each. */
  get names(): ReadonlySet<string> {
    return new Set(this.samples.map(({ name }) => name));
  }
}

function labelsOf(text: string): Record<string, string> {
  return Object.fromEntries([...text.matchAll(LABEL)].map(([, label = "", value = ""]) => [label, value]));
}

/** Scrapes as Prometheus does, with a key for who asks for one. */
export async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${TEST_KEY}` } });
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
  return new Scrape(await response.text());
}
