import { fixedRange } from '../nav/range'
import type { Page } from '../page.svelte'

/** The range that each zoom was made from. */
const before = new Map<string, string>()

/** Makes a stretch the page's time range; Back goes back, as does zoomOut. */
export function zoomIn(page: Page, from: number, to: number): void {
  const id = fixedRange(Math.round(from), Math.round(to))
  before.set(id, page.nav.get('range'))
  page.nav.set({ range: id })
}

/** Back to the range that was zoomed from; false where the page was not zoomed. */
export function zoomOut(page: Page): boolean {
  const id = page.nav.get('range')
  const old = before.get(id)
  if (old === undefined) return false
  page.nav.set({ range: old })
  return true
}
