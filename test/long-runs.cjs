/**
 * Tests that take minutes, or many processes: `npm run test:long`, and not `npm test`. `npm run check` runs both.
 * Relative to the folder of tests, without `.test.ts`.
 */
module.exports = [
  "e2e/autoscaling",
  "e2e/backup",
  "e2e/bench",
  "e2e/chaos",
  "e2e/console",
  "e2e/crash-points",
  "e2e/crashing-stage",
  "e2e/galera",
  "e2e/hostile-requests",
  "e2e/payment-webhooks",
  "e2e/poisoned-orders",
  "e2e/prometheus",
  "e2e/proxies",
  "e2e/recovery",
  "e2e/redis-topologies",
  "e2e/replay",
  "e2e/rolling-upgrade",
  "e2e/rollout-in-flight",
  "e2e/waiting-orders",
  "e2e/wedged-worker",
  "integration/db/galera",
  "integration/launcher/start",
  "integration/launcher/supervision",
  "integration/launcher/without-a-fork",
];
