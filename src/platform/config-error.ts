/** The environment is invalid; the message has one line per fault. */
export class ConfigError extends Error {
  override name = "ConfigError";
  constructor(faults: readonly string[]) {
    super(`the configuration is invalid:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
  }
}
