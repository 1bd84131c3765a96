import { exitOnSignal } from "./platform/shutdown.ts";
import { runMain } from "./platform/startup.ts";

/** The API process. What it consists of is loaded after the signals have a handler, for that takes a while. */
exitOnSignal();
runMain(async () => {
  const { runApi } = await import("./composition/run-api.ts");
  await runApi();
});
