import type { Page } from '../page.svelte'
import { stepped, usual } from './range'
import { pathTo, screens } from './screens'

/** What commands do wherever the page is. */
export function everywhere(page: Page): Record<string, () => void> {
  const range = (id: string) => page.nav.set({ range: id === usual ? '' : id })
  const runs: Record<string, () => void> = {
    palette: () => {
      page.dialog = 'palette'
    },
    keys: () => {
      page.dialog = 'keys'
    },
    'range.choose': () => {
      page.dialog = 'range'
    },
    'range.shorter': () => range(stepped(page.time, -1, page.now)),
    'range.longer': () => range(stepped(page.time, 1, page.now)),
    theme: () => page.setTheme(page.theme === 'system' ? 'light' : page.theme === 'light' ? 'dark' : 'system'),
    zone: () => page.setUTC(!page.utc),
    'view.save': () => {
      page.dialog = 'save-view'
    },
    'copy.link': () => void page.copy(`${location.origin}/${page.nav.href()}`, 'Link'),
  }
  for (const s of screens) runs[`go.${s.id}`] = () => page.nav.to(pathTo(s))
  return runs
}
