/** Formats a text table: columns as wide as their content, numbers and times right-aligned. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  const isNumeric = head.map((_, column) =>
    rows.every((row) => /^[\d.,]+( (s|ms|%))?$|^never$/.test(row[column] ?? "")),
  );
  return all.map((row) =>
    row
      .map((cell, column) =>
        isNumeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd(),
  );
}
