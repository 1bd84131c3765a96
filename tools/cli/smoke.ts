import { runMain, StartupError, UsageError } from "../../src/platform/startup.ts";
import { smokeEasypost } from "./smoke/easypost.ts";
import { smokeStripe } from "./smoke/stripe.ts";

type Print = (line: string) => void;

/** What can be tried, by its name: each prints a line for every step, and throws at the first that fails. */
const SMOKES: Readonly<Record<string, (print: Print) => Promise<void>>> = {
  stripe: (print) => {
    const { STRIPE_SECRET_KEY: secretKey = "", STRIPE_API_URL: url = "https://api.stripe.com" } = process.env;
    if (!/^(sk|rk)_test_\w+$/.test(secretKey))
      throw new StartupError(
        "set STRIPE_SECRET_KEY to a test key of Stripe's, sk_test_…: nothing is tried with real money",
      );
    return smokeStripe({ secretKey, url }, print);
  },
  easypost: (print) => {
    const { EASYPOST_API_KEY: apiKey = "", EASYPOST_API_URL: url = "https://api.easypost.com/v2" } =
      process.env;
    if (!/^EZTK\S+$/.test(apiKey))
      throw new StartupError(
        "set EASYPOST_API_KEY to a test key of EasyPost's, EZTK…: no label is bought with real money",
      );
    return smokeEasypost({ apiKey, url }, print);
  },
};

/** `npm run smoke -- stripe` or `easypost`: tries a real provider with test keys. */
runMain(async () => {
  const [name = "", ...rest] = process.argv.slice(2);
  const smoke = SMOKES[name];
  if (smoke === undefined || rest.length > 0)
    throw new UsageError(`usage: npm run smoke -- ${Object.keys(SMOKES).join("|")}`);
  await smoke((line) => process.stdout.write(`${line}\n`));
});
