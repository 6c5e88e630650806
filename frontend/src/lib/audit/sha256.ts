// SHA-256 (FIPS 180-4). The page has its own: crypto.subtle is missing where the page is not in a secure context, as in
// the desktop window, and answers later where it is there.

const K = constants()

/** The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
function constants(): Uint32Array {
  const k = new Uint32Array(64)
  let n = 0
  for (let p = 2; n < 64; p++) {
    let prime = true
    for (let d = 2; d * d <= p; d++) if (p % d === 0) prime = false
    if (prime) k[n++] = Math.floor((Math.cbrt(p) % 1) * 2 ** 32)
  }
  return k
}

const at = (a: Uint32Array, i: number): number => a[i] as number
const rotr = (x: number, n: number): number => (x >>> n) | (x << (32 - n))

export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((n, p) => n + p.length, 0)
  const padded = new Uint8Array((((length + 8) >> 6) << 6) + 64)
  let end = 0
  for (const p of parts) {
    padded.set(p, end)
    end += p.length
  }
  padded[length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(padded.length - 8, Math.floor(length / 2 ** 29))
  view.setUint32(padded.length - 4, length << 3)

  const h = new Uint32Array([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19])
  const w = new Uint32Array(64)
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getUint32(block + i * 4)
    for (let i = 16; i < 64; i++) {
      const [x, y] = [at(w, i - 15), at(w, i - 2)]
      w[i] = at(w, i - 16) + (rotr(x, 7) ^ rotr(x, 18) ^ (x >>> 3)) + at(w, i - 7) + (rotr(y, 17) ^ rotr(y, 19) ^ (y >>> 10))
    }
    let [a, b, c, d, e, f, g, j] = h as unknown as [number, number, number, number, number, number, number, number]
    for (let i = 0; i < 64; i++) {
      const t1 = (j + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) + at(K, i) + at(w, i)) | 0
      const t2 = ((rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0
      j = g
      g = f
      f = e
      e = (d + t1) | 0
      d = c
      c = b
      b = a
      a = (t1 + t2) | 0
    }
    for (const [i, v] of [a, b, c, d, e, f, g, j].entries()) h[i] = at(h, i) + v
  }
  const out = new Uint8Array(32)
  const written = new DataView(out.buffer)
  for (let i = 0; i < 8; i++) written.setUint32(i * 4, at(h, i))
  return out
}
