import { type Query, query } from './api/client'
import type { Page } from './page.svelte'
import { bytes } from './text/format'

/** Whether this page stands in Freshet's own window, which saves files through a dialog; asked once. */
let windowed: Promise<boolean> | null = null

function inWindow(page: Page): Promise<boolean> {
  windowed ??= page.api.get('/window').then(
    () => true,
    () => false,
  )
  return windowed
}

/** A topic's or a person's word as the name of a file on any system. */
export const fileName = (name: string): string => name.replace(/[^\p{L}\p{N}._ -]/gu, '_').slice(0, 60)

/** Saves what a route of the API answers as a file. */
export async function save(page: Page, path: string, q: Query, name: string): Promise<void> {
  if (!(await inWindow(page))) {
    const a = document.createElement('a')
    a.href = `/api${path}${query(q)}`
    a.download = name
    a.click()
    return
  }
  const done = await page.api.post<{ file?: string; bytes?: string }>('/window/save', {
    path: `/api${path}`,
    query: query(q).slice(1),
    name,
  })
  if (done.file) page.say(`Saved ${done.file}, ${bytes(Number(done.bytes ?? 0))}`)
}
