import { untrack } from 'svelte'
import type { Page } from '../page.svelte'

type Runs = Record<string, () => void>

/** What the commands do now: those of the page, and over them those of the screen that is shown. */
export class Acts {
  #layers = $state.raw<readonly Runs[]>([])

  /** Adds what a component does for commands; returns what takes it away. */
  use(runs: Runs): () => void {
    this.#layers = [...this.#layers, runs]
    return () => {
      this.#layers = this.#layers.filter((l) => l !== runs)
    }
  }

  /** Whether a command has something to do here. */
  has = (id: string): boolean => this.#layers.some((l) => Object.hasOwn(l, id))

  run(id: string): boolean {
    const run = this.#layers.findLast((l) => Object.hasOwn(l, id))?.[id]
    run?.()
    return run !== undefined
  }
}

/** While a component is there, commands do this. To be called while it is made. */
export function doing(page: Page, runs: Runs): void {
  $effect(() => untrack(() => page.acts.use(runs)))
}
