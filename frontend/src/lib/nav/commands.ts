import type { Page } from '../page.svelte'
import { type EdgeMode, edgeModes, type Range, ranges } from './route'

/** Everything a key does, once: the keyboard, the map of keys and the status line read this list. */
export interface Command {
  /** Keys in the order they are pressed; several sequences may do the same. */
  keys: string[][]
  words: string
  group: 'On the map' | 'Look' | 'Page'
  /** In the status line too, in these words. */
  line?: string
  /** Missing where the focused element itself does it. */
  run?: (page: Page) => void
}

export const commands: Command[] = [
  { keys: [['Tab']], words: 'to the next lane', line: 'next lane', group: 'On the map' },
  {
    keys: [['←'], ['→']],
    words: 'along the edges, against or with the stream',
    line: 'along edges',
    group: 'On the map',
  },
  { keys: [['↑'], ['↓']], words: 'within a lane', group: 'On the map' },
  { keys: [['Enter']], words: 'open what has the focus', line: 'open', group: 'On the map' },
  { keys: [['Esc']], words: 'close the sheet, then the filter', group: 'On the map' },
  {
    keys: [['/']],
    words: 'filter by name; is:late, lane:topic',
    line: 'filter',
    group: 'Look',
    run: () => document.getElementById('filter')?.focus(),
  },
  {
    keys: [['t']],
    words: 'as a table, and back',
    line: 'table',
    group: 'Look',
    run: (p) => p.nav.go({ view: p.nav.route.view === 'table' ? 'map' : 'table' }),
  },
  {
    keys: [['e']],
    words: 'edges show: freshness, rate, lag',
    group: 'Look',
    run: (p) => p.nav.go({ edges: after(edgeModes, p.nav.route.edges, 1) as EdgeMode }),
  },
  {
    keys: [['[']],
    words: 'a shorter time range',
    group: 'Look',
    run: (p) => p.nav.go({ range: after(ranges, p.nav.route.range, -1, true) as Range }),
  },
  {
    keys: [[']']],
    words: 'a longer time range',
    group: 'Look',
    run: (p) => p.nav.go({ range: after(ranges, p.nav.route.range, 1, true) as Range }),
  },
  { keys: [['w']], words: 'open what the answer speaks of', group: 'Look', run: (p) => p.nav.go({ sel: p.worst() }) },
  {
    keys: [['g', 'm']],
    words: 'go to the Map, as it opens',
    group: 'Page',
    run: (p) => p.nav.go({ sel: '', q: '', view: 'map', open: [] }),
  },
  {
    keys: [['y']],
    words: 'copy the command line for what is shown',
    group: 'Page',
    run: () => document.getElementById('copy-line')?.click(),
  },
  {
    keys: [['d']],
    words: 'light, dark, or as the system',
    group: 'Page',
    run: (p) => p.setTheme(p.theme === 'system' ? 'light' : p.theme === 'light' ? 'dark' : 'system'),
  },
  {
    keys: [['?']],
    words: 'this map of keys',
    line: 'all keys',
    group: 'Page',
    run: (p) => {
      p.keysOpen = true
    },
  },
]

function after(table: object, now: string, step: number, stop = false): string {
  const keys = Object.keys(table)
  const i = keys.indexOf(now) + step
  return keys[stop ? Math.min(keys.length - 1, Math.max(0, i)) : (i + keys.length) % keys.length] ?? now
}

/** Turns key presses into commands; a sequence must be finished within a second. */
export class Keys {
  #pressed: string[] = []
  #last = 0

  press(e: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'target'>, now: number): Command | null {
    if (e.ctrlKey || e.metaKey || e.altKey || e.key.length !== 1) return null
    if (e.target instanceof HTMLElement && e.target.closest('input, textarea, select, [contenteditable]')) return null
    if (now - this.#last > 1000) this.#pressed = []
    this.#last = now
    this.#pressed.push(e.key)
    const all = commands.filter((c) => c.run)
    const found = all.find((c) => c.keys.some((k) => same(k, this.#pressed)))
    if (found || !all.some((c) => c.keys.some((k) => begins(k, this.#pressed)))) {
      const again = !found && this.#pressed.length > 1
      this.#pressed = []
      if (again) return this.press(e, now)
    }
    return found ?? null
  }
}

const same = (a: string[], b: string[]) => a.length === b.length && begins(a, b)
const begins = (a: string[], b: string[]) => b.every((k, i) => a[i] === k)
