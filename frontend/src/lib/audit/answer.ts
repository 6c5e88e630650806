import type { AuditState, State } from '../api/types'
import { clock, count } from '../text/format'

const entries = (n: string): string => `${count(n)} ${n === '1' ? 'entry' : 'entries'}`

/** Whether the history is whole, and up to where that can be proved. */
export function auditAnswer(s: AuditState, now: number): { state: State; first: string; rest: string } {
  const v = s.verified
  if (s.trouble) return { state: 'late', first: 'The history takes no entry any more, so that nothing is done here.', rest: s.trouble }
  if (v && !v.ok) return { state: 'late', first: `The history is not intact: ${v.message}.`, rest: `Verified at ${clock(v.at, now)}.` }
  const open = BigInt(s.size) - BigInt(s.signed)
  const unsigned = open > 0n ? `The newest ${count(`${open}`)} ${open === 1n ? 'is' : 'are'} not signed yet.` : ''
  if (!v) return { state: 'unknown', first: `${entries(s.size)}, not verified since Freshet began.`, rest: unsigned }
  const later = BigInt(s.size) - BigInt(v.db_size)
  if (later > 0n)
    return {
      state: 'unknown',
      first: `The first ${entries(v.db_size)} were intact at ${clock(v.at, now)}.`,
      rest: `${count(`${later}`)} newer ${later === 1n ? 'one has' : 'ones have'} not been looked at. ${unsigned}`,
    }
  return {
    state: 'on_time',
    first: v.db_size === '1' ? 'The one entry is intact.' : `All ${entries(v.db_size)} are intact.`,
    rest: unsigned,
  }
}
