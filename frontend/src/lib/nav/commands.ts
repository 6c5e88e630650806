import list from '../../../commands.json'

/** Something that a key, the palette or a menu does. The list is one for the page, the window's menus and the docs. */
export interface Command {
  id: string
  words: string
  group: string
  /** Keys in the order they are pressed; several sequences may do the same. Mod is ⌘ or Ctrl. */
  keys: string[][]
  /** The native menu that has it too. */
  menu?: string
  /** In the status line too, in these words. */
  line?: string
  /** Whether the element that has the focus does it by itself. */
  element?: boolean
}

export const commands: readonly Command[] = list

const mac = typeof navigator !== 'undefined' && /Mac|iPhone|iPad/.test(navigator.userAgent)

/** A key as it is written. */
export const keyWord = (key: string): string =>
  key
    .replace('Mod+', mac ? '⌘' : 'Ctrl ')
    .replace(/ k$/, ' K')
    .replace('⌘k', '⌘K')

/** Turns key presses into the ids of commands; a sequence must be finished within a second. */
export class Keys {
  #pressed: string[] = []
  #last = 0

  /** active tells which commands there is something to do for now. */
  press(
    e: Pick<KeyboardEvent, 'key' | 'ctrlKey' | 'metaKey' | 'altKey' | 'target'>,
    now: number,
    active: (id: string) => boolean,
  ): Command | null {
    if (e.altKey || e.key.length !== 1) return null
    const mod = e.ctrlKey || e.metaKey
    if (!mod && e.target instanceof HTMLElement && e.target.closest('input, textarea, select, [contenteditable]')) return null
    if (now - this.#last > 1000) this.#pressed = []
    this.#last = now
    this.#pressed.push(mod ? `Mod+${e.key.toLowerCase()}` : e.key)
    const all = commands.filter((c) => !c.element && active(c.id))
    const found = all.find((c) => c.keys.some((k) => same(k, this.#pressed)))
    if (found || !all.some((c) => c.keys.some((k) => begins(k, this.#pressed)))) {
      const again = !found && this.#pressed.length > 1
      this.#pressed = []
      if (again) return this.press(e, now, active)
    }
    return found ?? null
  }
}

const same = (a: string[], b: string[]) => a.length === b.length && begins(a, b)
const begins = (a: string[], b: string[]) => b.every((k, i) => a[i] === k)
