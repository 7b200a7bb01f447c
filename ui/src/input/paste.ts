/** What is pasted. Pure. */

/** The part of a clipboard that tells. */
export type Pasted = Pick<DataTransfer, "types" | "getData">;

/**
 * Whether files lie on the clipboard. WebKitGTK does not list them, but announces addresses and
 * keeps them to itself when they are those of files. Office programs put a picture of what was
 * copied beside its text, and mean the text.
 */
export function holdsFiles(pasted: Pasted): boolean {
  const { types } = pasted;
  if (types.includes("text/html")) return false;
  return (
    types.includes("Files") ||
    (types.includes("text/uri-list") && pasted.getData("text/uri-list") === "")
  );
}
