import { describe, expect, test } from 'vitest'
import type { AuditState } from '../api/types'
import { auditAnswer } from './answer'
import { Entries } from './entries.svelte'
import { leaves, placeOf, readLeaf } from './entry'
import { checkSignature, climb, hex, leafHash, nodeHash, places, readCheckpoint, readKey, same, verdict } from './proof'
import { sha256 } from './sha256'

const utf8 = new TextEncoder()
const b64 = (b: Uint8Array) => btoa(String.fromCharCode(...b))
const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((p) => [...p]))
/** The browser's own. */
const digest = async (b: Uint8Array) => hex(new Uint8Array(await crypto.subtle.digest('SHA-256', b.slice())))

describe('SHA-256', () => {
  test.each([
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    ['abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq', '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1'],
  ])('of the standard’s text %j', (text, want) => expect(hex(sha256(utf8.encode(text)))).toBe(want))
  test('of a million a', () =>
    expect(hex(sha256(utf8.encode('a'.repeat(1_000_000))))).toBe('cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'))
  test('of every length around the block, in parts too', async () => {
    for (let n = 0; n < 200; n++) {
      const b = Uint8Array.from({ length: n }, (_, i) => (i * 31 + n) & 255)
      expect(hex(sha256(b.subarray(0, n >> 1), b.subarray(n >> 1)))).toBe(await digest(b))
    }
  })
})

// RFC 6962's tree by its definition, to hold the page's way up against.
function root(l: readonly string[]): Uint8Array {
  if (l.length === 1) return leafHash(l[0] ?? '')
  const k = 2 ** Math.floor(Math.log2(l.length - 1))
  return nodeHash(root(l.slice(0, k)), root(l.slice(k)))
}
function path(m: number, l: readonly string[]): Uint8Array[] {
  if (l.length === 1) return []
  const k = 2 ** Math.floor(Math.log2(l.length - 1))
  return m < k ? [...path(m, l.slice(0, k)), root(l.slice(k))] : [...path(m - k, l.slice(k)), root(l.slice(0, k))]
}

describe('the way up', () => {
  test('RFC 6962’s hashes: the empty leaf, and what a node is', async () => {
    expect(hex(leafHash(''))).toBe('6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d')
    expect(hex(nodeHash(leafHash('a'), leafHash('b')))).toBe(await digest(join(Uint8Array.of(1), leafHash('a'), leafHash('b'))))
  })
  test('of every leaf of every tree up to 17 entries leads to the root, and of a changed leaf elsewhere', () => {
    for (let n = 1; n <= 17; n++) {
      const all = Array.from({ length: n }, (_, i) => `leaf ${i}`)
      const top = root(all)
      for (let m = 0; m < n; m++) {
        const proof = path(m, all).map(b64)
        const up = climb(`leaf ${m}`, BigInt(m), BigInt(n), proof)
        expect(up.broken).toBe('')
        expect(hex(up.top)).toBe(hex(top))
        expect(same(climb(`leaf ${m}.`, BigInt(m), BigInt(n), proof).top, top)).toBe(false)
      }
    }
  })
  test('names the places beside it', () => {
    expect(places(5n, 7n)).toEqual([
      { side: 'left', from: 4n, to: 5n },
      { side: 'right', from: 6n, to: 7n },
      { side: 'left', from: 0n, to: 4n },
    ])
    expect(places(0n, 1n)).toEqual([])
    expect(places(2n ** 40n, 2n ** 62n)).toHaveLength(62)
  })
  test('says at which rung it breaks', () => {
    const all = ['a', 'b', 'c', 'd', 'e']
    const proof = path(2, all).map(b64)
    expect(climb('c', 2n, 5n, proof.slice(0, 2)).broken).toBe('hash 3 of 3 is missing, or is none')
    expect(climb('c', 2n, 5n, [proof[0] ?? '', 'none', proof[2] ?? '']).rungs).toHaveLength(1)
    expect(climb('c', 2n, 5n, [...proof, proof[0] ?? '']).broken).toBe('it has 4 hashes, and the way up has 3')
    expect(climb('c', 9n, 5n, proof).broken).toBe('the checkpoint covers 5 entries, and not this one')
  })
})

describe('a checkpoint', async () => {
  const { privateKey, publicKey } = (await crypto.subtle.generateKey('Ed25519', true, ['sign', 'verify'])) as CryptoKeyPair
  const raw = join(Uint8Array.of(1), new Uint8Array(await crypto.subtle.exportKey('raw', publicKey)))
  const id = sha256(utf8.encode('freshet/x\n'), raw).subarray(0, 4)
  const key = `freshet/x+${hex(id)}+${b64(raw)}`
  const text = `freshet/x\n2\n${b64(root(['a', 'b']))}\n`
  const note = `${text}\n— freshet/x ${b64(join(id, new Uint8Array(await crypto.subtle.sign('Ed25519', privateKey, utf8.encode(text)))))}\n`
  const read = (n: string) => {
    const c = readCheckpoint(n)
    if (!c) throw new Error('no checkpoint')
    return c
  }

  test('is read, and proves what leads to its root', () => {
    const c = read(note)
    expect([c.origin, c.size]).toEqual(['freshet/x', 2n])
    const proof = path(1, ['a', 'b']).map(b64)
    expect(verdict(climb('b', 1n, c.size, proof), c)).toBe('proved')
    expect(verdict(climb('B', 1n, c.size, proof), c)).toBe('broken')
    expect(verdict(climb('b', 1n, c.size, []), c)).toBe('broken')
    expect(verdict(null, null)).toBe('unsigned')
  })
  test.each(['', 'x\n2\nAAAA\n\n— x AAAA\n', `x\n02\n${b64(root(['a']))}\n\n— x AAAA\n`, text])('%j is none', (n) =>
    expect(readCheckpoint(n)).toBeNull(),
  )
  test('its signature is checked', async () => {
    expect(await checkSignature(read(note), [key])).toEqual({ state: 'good', key: `freshet/x+${hex(id)}` })
    expect(await checkSignature(read(note.replace('\n2\n', '\n3\n')), [key])).toMatchObject({ state: 'bad' })
    expect(await checkSignature(read(note), [])).toEqual({ state: 'bad', why: 'none of the known keys signed it' })
    expect(readKey(key.replace('freshet/x', 'freshet/y'))).toBeNull()
  })
})

describe('an entry', () => {
  const leaf =
    '{"action":"replay.execute","actor":"a","at":"2026-07-14T12:21:38.000000Z","detail":{"n":9007199254740993,"of":[{"x":null}],"e":{}},"outcome":"done","phase":"result","prev":"AA==","ref":18446744073709551615,"seq":18446744073709551616,"subject":"jb_1","v":1}'
  test('is read from what was hashed, with its numbers', () => {
    const read = readLeaf(leaf)
    expect(read?.entry).toMatchObject({ seq: '18446744073709551616', ref: '18446744073709551615', outcome: 'done', subject: 'jb_1' })
    expect(leaves(read?.detail ?? null)).toEqual([
      { path: 'n', text: '9007199254740993' },
      { path: 'of[0].x', text: 'null' },
      { path: 'e', text: '{}' },
    ])
    expect(readLeaf('{"seq":')).toBeNull()
    expect(readLeaf('[1]')).toBeNull()
  })
  test.each([
    ['replay.run', 'jb_1', ['replay', 'jobs', 'jb_1']],
    ['replay.approve', 'pl_1', ['replay', 'plans', 'pl_1']],
    ['sink.pause', 'warehouse', ['sinks', 'warehouse']],
    ['audit.create', 'freshet/x', undefined],
  ])('%s on %s has its place', (action, subject, path) => expect(placeOf({ action, subject })?.path).toEqual(path))
})

describe('the answer', () => {
  const state = (s: Partial<AuditState>): AuditState => ({ v: 1, kind: 'audit.state', origin: 'x', size: '41972', signed: '41898', ...s })
  const report = {
    v: 1,
    kind: 'audit.verify',
    ok: true,
    exit: 0,
    message: 'm',
    db_size: '41972',
    proved: '0',
    chained: '0',
    checkpoint_source: '',
    findings: [],
    at: '2026-07-14T12:21:38.000Z',
    took_s: 1,
    by: 'x',
  }
  test('never calls an old verification the present state', () => {
    expect(auditAnswer(state({}), 0)).toMatchObject({
      state: 'unknown',
      first: '41,972 entries, not verified since Freshet began.',
      rest: 'The newest 74 are not signed yet.',
    })
    expect(auditAnswer(state({ verified: report }), 0)).toMatchObject({ state: 'on_time', first: 'All 41,972 entries are intact.' })
    const stale = auditAnswer(state({ size: '41973', verified: report }), 0)
    expect(stale.state).toBe('unknown')
    expect(stale.first).toMatch(/^The first 41,972 entries were intact at /)
    expect(stale.rest).toContain('1 newer one has not been looked at.')
    expect(
      auditAnswer(state({ verified: { ...report, ok: false, message: 'entry 7 is not the one that was recorded' } }), 0),
    ).toMatchObject({ state: 'late', first: 'The history is not intact: entry 7 is not the one that was recorded.' })
    expect(auditAnswer(state({ trouble: 'cut off' }), 0).state).toBe('late')
  })
})

describe('entries by pages', () => {
  const entry = (n: number) => ({ seq: `${n}`, at: '', actor: '', action: '', phase: 'note', subject: '' })
  test('go on by the cursor, and what is newer comes before them', async () => {
    let newest = 5
    const asked: unknown[] = []
    const e = new Entries(
      async (q) => {
        asked.push(q.cursor)
        const from = q.cursor ? Number(q.cursor) - 1 : newest
        const items = [from, from - 1].filter((n) => n >= 0).map(entry)
        return { items, ...(from > 1 ? { next_cursor: `${from - 1}` } : {}) }
      },
      { text: 'x' },
    )
    for (let i = 0; i < 4; i++) await e.more()
    expect(e.items.map((i) => i.seq)).toEqual(['5', '4', '3', '2', '1', '0'])
    expect(e.next).toBe('')
    newest = 6
    await e.fresh()
    expect(e.items.map((i) => i.seq)).toEqual(['6', '5', '4', '3', '2', '1', '0'])
    newest = 9
    await e.fresh()
    expect([e.items.map((i) => i.seq), e.next]).toEqual([['9', '8'], '8'])
    expect(asked).toEqual(['', '4', '2', undefined, undefined])
  })
  test('pages without a find are passed over for a while only', async () => {
    const e = new Entries(async () => ({ items: [], next_cursor: '7' }), {})
    while (e.goesOn) await e.more()
    expect(e.idle).toBe(5)
    e.again()
    expect(e.goesOn).toBe(false)
  })
})
