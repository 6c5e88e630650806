/** Where the words of a mark stand, and how many pixels they may take; none where there is no room. */
export interface Placed {
  words: 'right' | 'left' | 'none'
  room: number
}

const dot = 14
const perChar = 6.1

/** Places the words of marks at x, in order, on width pixels: none runs into another mark or its words. */
export function place(marks: readonly { x: number; text: string }[], width: number): Placed[] {
  let free = 0
  return marks.map(({ x, text }, i) => {
    const next = (marks[i + 1]?.x ?? width + dot) - dot
    const need = Math.min(text.length * perChar + 6, 230)
    const right = next - (x + dot / 2)
    const left = x - dot / 2 - free
    free = Math.max(free, x + dot / 2)
    if (right >= Math.min(need, 60)) {
      const room = Math.min(need, right)
      free = x + dot / 2 + room
      return { words: 'right', room }
    }
    if (left >= Math.min(need, 60)) return { words: 'left', room: Math.min(need, left) }
    return { words: 'none', room: 0 }
  })
}

/** Heights of labels beside the ends of lines: each as near to its own as the others leave it, apart px from the next. */
export function apart(ys: readonly number[], gap: number, bottom: number): number[] {
  const order = ys.map((y, i) => ({ y, i })).sort((a, b) => a.y - b.y)
  const out = [...ys]
  let from = 0
  for (const { y, i } of order) {
    from = Math.max(from, y)
    out[i] = from
    from += gap
  }
  let to = bottom
  for (const { i } of order.reverse()) {
    to = Math.min(to, out[i] ?? 0)
    out[i] = to
    to -= gap
  }
  return out
}
