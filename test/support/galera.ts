import { canUnpackDebianPackages } from "../../tools/launcher/servers/debian-packages.ts";
import { startGalera, type GaleraCluster } from "../../tools/launcher/servers/galera.ts";
import { endWithJest } from "./end-with-jest.ts";

/** Fetching and unpacking it takes what the network takes. */
export const GALERA_START_MS = 300_000;

/** Whether this machine can have it. */
export const canHaveGalera = canUnpackDebianPackages();

if (!canHaveGalera)
  process.stderr.write(
    "tests of Galera are skipped: it comes from Debian's packages, and there is no apt-get here\n",
  );

/** Three nodes and HAProxy. They end with this process, however that ends. */
export function startTestGalera(): Promise<GaleraCluster> {
  endWithJest();
  return startGalera();
}
