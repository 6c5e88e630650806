// Names, keys and error texts come from other people's systems. What would hide, reorder or fake text is written out.

const hostile = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]|\p{DI}/gu

const names: Record<string, string> = { '\t': '⟨TAB⟩', '\n': '⟨LF⟩', '\r': '⟨CR⟩', '\0': '⟨NUL⟩', '\u001b': '⟨ESC⟩' }

/** The text with control, bidi and zero-width characters written as marks: `a⟨U+202E⟩b`. */
export function visible(text: string): string {
  return text.replace(hostile, (c) => names[c] ?? `⟨U+${code(c)}⟩`)
}

function code(c: string): string {
  return (c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
}

const segmenter = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** The text with its middle left out where it is longer than max characters; names differ most at their ends. */
export function middle(text: string, max: number): string {
  if (text.length <= max) return text
  const parts = Array.from(segmenter.segment(text), (s) => s.segment)
  if (parts.length <= max) return text
  const keep = Math.max(2, max - 1)
  const tail = Math.min(keep - 1, Math.ceil(keep * 0.55))
  return `${parts.slice(0, keep - tail).join('')}…${parts.slice(parts.length - tail).join('')}`
}

/** One word for a POSIX shell, whatever is in it. */
export function shellWord(text: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text
  if (!/[\p{Cc}]/u.test(text)) return `'${text.replaceAll("'", `'\\''`)}'`
  const bytes = new TextEncoder().encode(text)
  let quoted = ''
  for (const b of bytes) {
    const plain = b >= 0x20 && b < 0x7f && b !== 0x27 && b !== 0x5c
    quoted += plain ? String.fromCharCode(b) : `\\x${b.toString(16).padStart(2, '0')}`
  }
  return `$'${quoted}'`
}
