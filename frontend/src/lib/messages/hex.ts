/** How many bytes of a key or value are shown. */
export const mostHex = 64 << 10
/** Bytes a line. */
export const perLine = 8

/** A line of bytes: where it begins, its bytes as digits, and what of them is ASCII. */
export function hexLine(bytes: Uint8Array, line: number): { at: string; digits: string; text: string } {
  const part = bytes.subarray(line * perLine, (line + 1) * perLine)
  return {
    at: (line * perLine).toString(16).padStart(5, '0'),
    digits: Array.from(part, (b) => b.toString(16).padStart(2, '0')).join(' '),
    text: Array.from(part, (b) => (b > 32 && b < 127 ? String.fromCharCode(b) : '·')).join(''),
  }
}
