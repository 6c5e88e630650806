// Which rows of a list are drawn. Browsers lay out at most some 16 million pixels, so that a list which is higher is
// scrolled through at a scale: the scroll bar then stands for the whole, and the wheel still moves by pixels.

/** The highest that a scrolled element is made, in pixels: below what every engine can lay out. */
export const mostHeight = 8_000_000

export interface Rows {
  /** First row drawn, and the one after the last. */
  from: number
  to: number
  /** Pixels that the first drawn row lies above (negative) or below the top of the view. */
  offset: number
}

/** The height of the scrolled element of so many rows. */
export function scrolledHeight(count: number, row: number): number {
  return Math.min(count * row, mostHeight)
}

/** Where the view's top lies in the whole list, in pixels, when the bar is at scrollTop. */
export function topOf(scrollTop: number, count: number, row: number, view: number): number {
  const whole = count * row
  const scrolled = scrolledHeight(count, row)
  if (whole === scrolled || scrolled <= view) return scrollTop
  return (scrollTop / (scrolled - view)) * (whole - view)
}

/** The inverse of topOf. */
export function scrollTopOf(top: number, count: number, row: number, view: number): number {
  const whole = count * row
  const scrolled = scrolledHeight(count, row)
  if (whole === scrolled || whole <= view) return top
  return (top / (whole - view)) * (scrolled - view)
}

/** The rows to draw for a view whose top lies at top, with some more on both sides. */
export function rowsAt(top: number, count: number, row: number, view: number, more = 6): Rows {
  const first = Math.floor(top / row)
  const from = Math.max(0, Math.min(count, first - more))
  const to = Math.max(from, Math.min(count, Math.ceil((top + view) / row) + more))
  return { from, to, offset: from * row - top }
}
