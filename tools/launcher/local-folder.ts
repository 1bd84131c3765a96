import path from "node:path";

/** The folder of this clone. */
export const PROJECT_FOLDER = path.resolve(import.meta.dirname, "../..");

const LOCAL_FOLDER = path.join(PROJECT_FOLDER, ".local");

/** `npm start` writes only to `.local`; removing that folder removes every trace. */
export const LOCAL = {
  build: path.join(LOCAL_FOLDER, "build"),
  /** The data of MySQL, Redis and the simulated providers, which `npm run reset` wipes. */
  data: path.join(LOCAL_FOLDER, "data"),
  /** Held by the `npm start` that runs in this folder. */
  lock: path.join(LOCAL_FOLDER, "lock"),
  logs: path.join(LOCAL_FOLDER, "logs"),
  packages: path.join(LOCAL_FOLDER, "packages"),
  state: path.join(LOCAL_FOLDER, "state.json"),
  /** Data folders of a fresh MySQL, for private servers to copy. */
  templates: path.join(LOCAL_FOLDER, "test-templates"),
} as const;
