// What the palette finds: everything that has a name, ranked by how well the words fit it.

export interface Entry {
  /** Unique among entries. */
  id: string
  kind: string
  name: string
  /** More that is found by, and shown quietly. */
  note?: string
  /** Keys, for a command. */
  keys?: readonly string[]
  go: () => void
}

/** How well a text answers what was typed: higher is better, 0 is not at all. Each word must be in it, in any order. */
export function score(text: string, typed: readonly string[]): number {
  const lower = text.toLowerCase()
  let sum = 1
  for (const word of typed) {
    const at = lower.indexOf(word)
    if (at < 0) return 0
    const begins = at === 0 || /[^\p{L}\p{N}]/u.test(lower[at - 1] ?? ' ')
    sum += (begins ? 4 : 1) + (at === 0 ? 2 : 0) + word.length / Math.max(lower.length, 1)
  }
  return sum
}

/** The best entries for what was typed, at most n, best first; all in their order where nothing was typed. */
export function found(entries: readonly Entry[], typed: string, n: number): Entry[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean)
  if (!words.length) return entries.slice(0, n)
  const ranked: { e: Entry; score: number; i: number }[] = []
  entries.forEach((e, i) => {
    const best = Math.max(score(e.name, words) * 1.5, score(`${e.kind} ${e.name} ${e.note ?? ''}`, words))
    if (best > 0) ranked.push({ e, score: best, i })
  })
  return ranked
    .sort((a, b) => b.score - a.score || a.i - b.i)
    .slice(0, n)
    .map((r) => r.e)
}
