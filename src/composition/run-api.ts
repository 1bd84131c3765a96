import { announce } from "../platform/log.ts";
import { shutDownOnSignal } from "../platform/shutdown.ts";
import { API_PROCESS } from "./api-config.ts";
import { openApi } from "./api.ts";
import { configure } from "./config.ts";

/** Starts the API, configured by the environment, and has signals stop it. @throws {ConfigError | StartupError} */
export async function runApi(): Promise<void> {
  const config = await configure(API_PROCESS, process.env);
  const { log, services, http, metrics } = await openApi(config);
  shutDownOnSignal({ log, timeoutMs: config.SHUTDOWN_DELAY_MS + config.SHUTDOWN_TIMEOUT_MS, services });
  await services.start();
  announce(log, { url: http.address, metrics: metrics.address }, "listening");
}
