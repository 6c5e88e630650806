/**
 * Keeps a list in the order in which it stood while somebody points at it; what is new comes last. Another question, such
 * as another sort, is answered at once.
 */
export class Still<T> {
  #order: readonly string[] = []
  #question = ''
  readonly #id: (row: T) => string

  constructor(id: (row: T) => string) {
    this.#id = id
  }

  rows(sorted: readonly T[], hold: boolean, question = ''): readonly T[] {
    const rows = hold && question === this.#question ? this.#asBefore(sorted) : sorted
    this.#order = rows.map(this.#id)
    this.#question = question
    return rows
  }

  #asBefore(rows: readonly T[]): readonly T[] {
    const at = new Map(this.#order.map((id, i) => [id, i]))
    const place = (row: T) => at.get(this.#id(row)) ?? at.size
    return rows.toSorted((a, b) => place(a) - place(b))
  }
}
