import { sha256 } from './sha256'

// What the page works out by itself from an entry's proof: RFC 6962's leaf and node hashes up to the root, the signed
// note of https://c2sp.org/tlog-checkpoint, and Ed25519 where the browser has it.

const utf8 = new TextEncoder()

export const hex = (b: Uint8Array): string => Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('')

/** Standard base64; null where it is none. */
export function base64(text: string): Uint8Array | null {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
  } catch {
    return null
  }
}

export const same = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((x, i) => x === b[i])

export const leafHash = (leaf: string): Uint8Array => sha256(Uint8Array.of(0), utf8.encode(leaf))
export const nodeHash = (left: Uint8Array, right: Uint8Array): Uint8Array => sha256(Uint8Array.of(1), left, right)

/** One step of the way up: the hash beside it, over entries [from, to), and what both give. */
export interface Rung {
  side: 'left' | 'right'
  from: bigint
  to: bigint
  sibling: Uint8Array
  hash: Uint8Array
}

export interface Ladder {
  leaf: Uint8Array
  rungs: Rung[]
  /** Where the way ends: at the root, if all is well. */
  top: Uint8Array
  /** Why the way cannot be gone to its end, '' where it can. */
  broken: string
}

/** The siblings' places from the leaf up, in a tree of size entries. */
export function places(seq: bigint, size: bigint): Pick<Rung, 'side' | 'from' | 'to'>[] {
  const out: Pick<Rung, 'side' | 'from' | 'to'>[] = []
  let [lo, hi] = [0n, size]
  while (hi - lo > 1n) {
    let k = 1n
    while (k * 2n < hi - lo) k *= 2n
    if (seq < lo + k) {
      out.push({ side: 'right', from: lo + k, to: hi })
      hi = lo + k
    } else {
      out.push({ side: 'left', from: lo, to: lo + k })
      lo += k
    }
  }
  return out.reverse()
}

/** Goes up from the leaf with the hashes of an inclusion proof. */
export function climb(leaf: string, seq: bigint, size: bigint, proof: readonly string[]): Ladder {
  const ladder: Ladder = { leaf: leafHash(leaf), rungs: [], top: leafHash(leaf), broken: '' }
  if (seq >= size) return { ...ladder, broken: `the checkpoint covers ${size} entries, and not this one` }
  const way = places(seq, size)
  for (const [i, place] of way.entries()) {
    const sibling = base64(proof[i] ?? '')
    if (sibling?.length !== 32) return { ...ladder, broken: `hash ${i + 1} of ${way.length} is missing, or is none` }
    ladder.top = place.side === 'right' ? nodeHash(ladder.top, sibling) : nodeHash(sibling, ladder.top)
    ladder.rungs.push({ ...place, sibling, hash: ladder.top })
  }
  if (proof.length > way.length) ladder.broken = `it has ${proof.length} hashes, and the way up has ${way.length}`
  return ladder
}

export interface Checkpoint {
  origin: string
  size: bigint
  root: Uint8Array
  /** What is signed, and by which key names with which signatures. */
  text: string
  signatures: { name: string; bytes: Uint8Array }[]
}

/** Reads a signed note; null where it is no checkpoint. */
export function readCheckpoint(note: string): Checkpoint | null {
  const end = note.indexOf('\n\n')
  if (end < 0) return null
  const text = note.slice(0, end + 1)
  const [origin = '', size = '', root = ''] = text.split('\n')
  const hash = base64(root)
  if (!origin || !/^(0|[1-9]\d{0,18})$/.test(size) || hash?.length !== 32) return null
  const signatures = note
    .slice(end + 2)
    .split('\n')
    .flatMap((line) => {
      const found = /^— (\S+) (\S+)$/.exec(line)
      const bytes = base64(found?.[2] ?? '')
      return found?.[1] && bytes ? [{ name: found[1], bytes }] : []
    })
  return { origin, size: BigInt(size), root: hash, text, signatures }
}

/** A public key as golang.org/x/mod/sumdb/note writes it: NAME+HASH+BASE64; null where it is none of Ed25519. */
export function readKey(key: string): { name: string; id: string; key: Uint8Array } | null {
  const [, name = '', id = '', data = ''] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(key) ?? []
  const bytes = base64(data)
  if (bytes?.length !== 33 || bytes[0] !== 1) return null
  if (hex(sha256(utf8.encode(`${name}\n`), bytes).subarray(0, 4)) !== id) return null
  return { name, id, key: bytes.slice(1) }
}

export type Signature = { state: 'good'; key: string } | { state: 'bad' | 'unchecked'; why: string }

/** Whether one of the keys signed the checkpoint. */
export async function checkSignature(c: Checkpoint, keys: readonly string[]): Promise<Signature> {
  const known = keys.map(readKey).filter((k) => k !== null)
  for (const s of c.signatures) {
    const k = known.find((k) => k.name === s.name && k.id === hex(s.bytes.subarray(0, 4)))
    if (!k) continue
    if (!globalThis.crypto?.subtle) return { state: 'unchecked', why: 'this window has no Ed25519' }
    let good: boolean
    try {
      const key = await crypto.subtle.importKey('raw', k.key.slice(), 'Ed25519', false, ['verify'])
      good = await crypto.subtle.verify('Ed25519', key, s.bytes.slice(4), utf8.encode(c.text))
    } catch {
      return { state: 'unchecked', why: 'this browser has no Ed25519' }
    }
    return good ? { state: 'good', key: `${k.name}+${k.id}` } : { state: 'bad', why: `the signature of ${k.name} does not verify` }
  }
  return { state: 'bad', why: 'none of the known keys signed it' }
}

/** What the page found of one entry. */
export type Verdict = 'proved' | 'broken' | 'unsigned'

export function verdict(ladder: Ladder | null, c: Checkpoint | null): Verdict {
  if (!c || !ladder) return 'unsigned'
  return ladder.broken === '' && same(ladder.top, c.root) ? 'proved' : 'broken'
}

/** A hash in a few characters: its ends. */
export const shortHash = (b: Uint8Array): string => `${hex(b.subarray(0, 3))}…${hex(b.subarray(30))}`
