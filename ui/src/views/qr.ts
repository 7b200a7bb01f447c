/** The dark modules of a QR code as one SVG path, a stroke for each run in a row. Pure. */
export function pathOf(rows: readonly (readonly boolean[])[]): string {
  return rows
    .flatMap((row, y) =>
      row.flatMap((dark, x) => {
        if (!dark || row[x - 1]) return [];
        const end = row.indexOf(false, x);
        const length = (end === -1 ? row.length : end) - x;
        return [`M${String(x)} ${String(y)}h${String(length)}v1h-${String(length)}z`];
      }),
    )
    .join("");
}
