// FNV-1a of 32 bits (draft-eastlake-fnv): short names that follow from what they name. No protection against anybody.

/** Of the UTF-16 units of a text. */
export function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193) >>> 0;
  }
  return hash;
}
