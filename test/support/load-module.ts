/** Stands for src/composition/load-module.ts, whose hooks jest refuses. */
export async function loadModule(file: string): Promise<{ readonly default?: unknown }> {
  return import(file);
}
