import type { ResetChange } from '../api/types'
import { count } from '../text/format'

/** By how many offsets a partition moves: below zero back, null where it has no place yet. */
export function by(m: ResetChange): bigint | null {
  return m.from ? BigInt(m.to) - BigInt(m.from) : null
}

/** "+1,204", "−48,210", "0". */
export function signed(n: bigint): string {
  return n === 0n ? '0' : `${n > 0n ? '+' : '−'}${count(`${n < 0n ? -n : n}`)}`
}

/** What a reset does, in a sentence: "moves 12 partitions of billing back by 48,210 records". */
export function effect(group: string, moves: readonly ResetChange[]): string {
  const [back, on, fresh] = [
    moves.filter((m) => (by(m) ?? 0n) < 0n),
    moves.filter((m) => (by(m) ?? 0n) > 0n),
    moves.filter((m) => by(m) === null),
  ]
  const sum = (list: readonly ResetChange[]) => list.reduce((s, m) => s + (by(m) ?? 0n), 0n)
  const parts = (n: number) => (n === 1 ? '1 partition' : `${count(n)} partitions`)
  const said = [
    back.length ? `${parts(back.length)} of ${group} back by ${count(`${-sum(back)}`)} records, which will be read again` : '',
    on.length ? `${parts(on.length)} forward by ${count(`${sum(on)}`)} records, which will not be read` : '',
    fresh.length ? `${parts(fresh.length)} to a first place` : '',
  ].filter(Boolean)
  return said.length ? `Moves ${said.join('; ')}.` : 'Moves nothing: every partition is there already.'
}

/** The offsets that a reset moved away from, as a reset takes them. */
export function former(moves: readonly ResetChange[]): string[] {
  return moves.flatMap((m) => (m.from ? [`${m.partition}:${m.from}`] : []))
}
