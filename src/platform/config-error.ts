/** The environment does not make sense; the message has one line for every fault. */
export class ConfigError extends Error {
  override name = "ConfigError";
  constructor(faults: readonly string[]) {
    super(`the configuration is not right:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
  }
}
