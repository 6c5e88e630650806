import type { Page } from 'playwright-core'

// What a designer would see at once, asked of the page itself.

/** Texts that are cut off and say nowhere what they were, as "element: text"; and what sticks out of the window. */
export function cut(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = []
    const said = (el: Element | null): boolean => !!el?.closest('[title], [aria-label]')
    for (const el of document.querySelectorAll<HTMLElement>('body *')) {
      const own = [...el.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && (n.textContent ?? '').trim() !== '')
      if (!own || !el.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue
      const style = getComputedStyle(el)
      const box = el.getBoundingClientRect()
      if (box.width < 2 || box.height < 2 || style.clipPath !== 'none') continue
      const name = `${el.tagName.toLowerCase()}.${el.className}`.slice(0, 60)
      const text = (el.textContent ?? '').trim().slice(0, 60)
      const hidesX = style.overflowX !== 'visible'
      if (hidesX && el.scrollWidth > el.clientWidth + 1 && !/auto|scroll/.test(style.overflowX) && !said(el))
        found.push(`${name}: cut: ${text}`)
      if (el.closest('[aria-hidden=true]')) continue
      if (box.right > innerWidth + 1 && !said(el) && !el.closest('[data-scrolls], .scroll, .rows, [role=grid]'))
        found.push(`${name}: outside of the window: ${text}`)
    }
    if (document.documentElement.scrollWidth > innerWidth)
      found.push(`the page is ${document.documentElement.scrollWidth} px wide in a window of ${innerWidth}`)
    return [...new Set(found)]
  })
}

/** Targets for a pointer that are smaller than 24 × 24 px, links within a sentence aside. */
export function small(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = []
    for (const el of document.querySelectorAll<HTMLElement>('button, input, select, [role=tab], [role=radio], [role=option]')) {
      if (!el.checkVisibility({ visibilityProperty: true })) continue
      const { width, height } = el.getBoundingClientRect()
      if (width === 0 || height === 0 || el.closest('label') || getComputedStyle(el).clipPath !== 'none') continue
      if (width < 23.5 || height < 23.5)
        found.push(
          `${el.tagName.toLowerCase()} ${Math.round(width)}×${Math.round(height)}: ${(el.getAttribute('aria-label') ?? el.textContent ?? '').trim().slice(0, 40)}`,
        )
    }
    return [...new Set(found)]
  })
}

/** Begins to add up what moves without anybody having touched it. To be called before the page is opened. */
export async function watchShifts(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const w = window as unknown as { shift: number; shifted: string[] }
    w.shift = 0
    w.shifted = []
    new PerformanceObserver((list) => {
      for (const e of list.getEntries() as (PerformanceEntry & {
        value: number
        hadRecentInput: boolean
        sources?: { node?: Node | null }[]
      })[]) {
        if (e.hadRecentInput) continue
        w.shift += e.value
        for (const s of e.sources ?? []) {
          const el = s.node instanceof Element ? s.node : s.node?.parentElement
          if (el) w.shifted.push(`${el.tagName.toLowerCase()}.${el.getAttribute('class') ?? ''} ${e.value.toFixed(4)}`)
        }
      }
    }).observe({ type: 'layout-shift', buffered: true })
  })
}

/** What moved since it was asked last, and by how much in all. */
export function shifts(page: Page): Promise<{ sum: number; what: string[] }> {
  return page.evaluate(() => {
    const w = window as unknown as { shift: number; shifted: string[] }
    const out = { sum: w.shift, what: w.shifted.slice(0, 6) }
    w.shift = 0
    w.shifted = []
    return out
  })
}
