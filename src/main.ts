import { API_PROCESS } from "./composition/api-config.ts";
import { openApi } from "./composition/api.ts";
import { configure } from "./composition/config.ts";
import { announce } from "./platform/log.ts";
import { shutDownOnSignal } from "./platform/shutdown.ts";
import { runMain } from "./platform/startup.ts";

/** The API process. */
runMain(async () => {
  const config = await configure(API_PROCESS, process.env);
  const { log, services, http, metrics } = await openApi(config);
  shutDownOnSignal({ log, timeoutMs: config.SHUTDOWN_DELAY_MS + config.SHUTDOWN_TIMEOUT_MS, services });
  await services.start();
  announce(log, { url: http.address, metrics: metrics.address }, "listening");
});
