/** Ends what global-setup.ts started. Were this never to run, the servers would end with the test process. */
export default async function globalTeardown(): Promise<void> {
  await Promise.all((globalThis.conveyorTestServers ?? []).map((server) => server.stop()));
}
