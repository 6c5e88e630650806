import { type Api, segment } from '../api/client'
import type { Scan } from '../api/types'
import { Pages } from '../list/pages.svelte'
import { type Ask, selection } from './ask'
import { type Place, type Row, readRecords } from './records'

/** An offset that holds no record that could be read: compacted away, of an aborted transaction, or a marker of one. */
export class Gap {
  readonly id: string
  readonly partition: number
  readonly offset: string
  constructor(partition: number, offset: bigint) {
    this.id = `${partition}:${offset}`
    this.partition = partition
    this.offset = `${offset}`
  }
}

export type Line = Row | Gap

interface Stretch {
  partition: number
  from: bigint
  to: bigint
  /** The row that its first offset is in, counted from the list's oldest end. */
  row: number
}

/**
 * Every offset of a range as one list, fetched as it comes into view: partition after partition, each in the order of
 * its offsets; or turned round, newest first.
 */
export class BrowseList {
  readonly count: number
  readonly window: Scan['window']
  readonly #stretches: readonly Stretch[]
  readonly #newest: boolean
  readonly #pages: Pages<Line>
  #wanted: [number, number] = [0, 0]
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(api: Api, ask: Ask, window: Scan['window'], newest: boolean) {
    this.window = window
    this.#newest = newest
    let row = 0
    this.#stretches = window.map((w) => {
      const s = { partition: w.partition, from: BigInt(w.from), to: BigInt(w.to), row }
      row += Number(s.to - s.from)
      return s
    })
    this.count = row
    this.#pages = new Pages<Line>(row, async (from, to, signal) => {
      const parts = this.#within(...this.#turned(from, to))
      const text = await api.text(
        `/topics/${segment(ask.topic)}/records`,
        {
          cluster: ask.cluster,
          at: parts.map((p) => `${p.partition}:${p.from}`).join(','),
          before: parts.map((p) => `${p.partition}:${p.to}`).join(','),
          order: 'oldest',
          limit: to - from,
          shape: 'row',
        },
        signal,
      )
      const here = new Map(readRecords(text).rows.map((r) => [r.id, r]))
      const lines: Line[] = []
      for (const p of parts) for (let o = p.from; o < p.to; o++) lines.push(here.get(`${p.partition}:${o}`) ?? new Gap(p.partition, o))
      return this.#newest ? lines.reverse() : lines
    })
  }

  get error(): unknown {
    return this.#pages.error
  }

  row = (i: number): Line | undefined => this.#pages.get(i)

  /** Fetches what is in view, once the view rests for a moment: what flies past is not worth asking for. */
  need(from: number, to: number): void {
    this.#wanted = [from, to]
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#pages.need(...this.#wanted)
    }, 60)
  }

  again = (): void => this.#pages.need(...this.#wanted)

  stop(): void {
    clearTimeout(this.#timer)
    this.#pages.stop()
  }

  /** The row of a place; -1 where it is not in the range. */
  rowOf(p: Place): number {
    const o = BigInt(p.offset)
    const s = this.#stretches.find((x) => x.partition === p.partition && o >= x.from && o < x.to)
    if (!s) return -1
    const i = s.row + Number(o - s.from)
    return this.#newest ? this.count - 1 - i : i
  }

  #turned(from: number, to: number): [number, number] {
    return this.#newest ? [this.count - to, this.count - from] : [from, to]
  }

  /** What of each partition rows [from, to) are, counted from the oldest end. */
  #within(from: number, to: number): { partition: number; from: bigint; to: bigint }[] {
    return this.#stretches.flatMap((s) => {
      const [a, b] = [Math.max(from, s.row), Math.min(to, s.row + Number(s.to - s.from))]
      return a < b ? [{ partition: s.partition, from: s.from + BigInt(a - s.row), to: s.from + BigInt(b - s.row) }] : []
    })
  }
}

/** What of each partition an ask is about now. */
export async function windowOf(api: Api, a: Ask, signal: AbortSignal): Promise<Scan['window']> {
  const { from, until, partitions } = selection({
    ...a,
    where: a.where === 'time' ? 'time' : 'oldest',
    partitions: a.place ? [a.place.partition] : a.partitions,
  })
  const bounds = a.place ? { from: 'oldest', until: '' } : { from, until }
  const text = await api.text(
    `/topics/${segment(a.topic)}/records`,
    { cluster: a.cluster, ...bounds, partitions, order: 'oldest', limit: 1, max_records: 1, shape: 'row' },
    signal,
  )
  return readRecords(text).scan.window
}
