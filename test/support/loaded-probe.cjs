// Loaded into the process under test by NODE_OPTIONS: when it ends, it writes which packages it has loaded as a line of
// JSON. Those that are written as ES modules are not among them.
process.on("exit", () => {
  const packages = Object.keys(require.cache).flatMap(
    (file) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? [],
  );
  process.stdout.write(
    `${JSON.stringify({ level: "info", msg: "loaded", packages: [...new Set(packages)] })}\n`,
  );
});
