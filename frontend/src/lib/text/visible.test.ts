import { describe, expect, test } from 'vitest'
import { middle, shellWord, visible } from './visible'

describe('hostile text', () => {
  test.each([
    ['a\u202egnp.exe', 'a⟨U+202E⟩gnp.exe'],
    ['zero\u200bwidth', 'zero⟨U+200B⟩width'],
    ['\u001b[31mred\u0000', '⟨ESC⟩[31mred⟨NUL⟩'],
    ['tab\there', 'tab⟨TAB⟩here'],
    ['line\u2028break', 'line⟨U+2028⟩break'],
    ['\u2066isolate\u2069', '⟨U+2066⟩isolate⟨U+2069⟩'],
    ['filler\u3164', 'filler⟨U+3164⟩'],
    ['tag\u{e0041}', 'tag⟨U+E0041⟩'],
    ['lone\ud800', 'lone⟨U+D800⟩'],
  ])('%j is shown as %s', (text, shown) => expect(visible(text)).toBe(shown))

  test('plain text of any script stays as it is', () => {
    for (const s of ['shop.public.orders', 'Ωmega', '注文', 'заказы', 'שלום', '<b>bold</b>', '🚚']) expect(visible(s)).toBe(s)
  })
})

describe('the middle', () => {
  test('both ends stay', () => {
    expect(middle('shop.public.order_lines', 15)).toBe('shop.p…er_lines')
    expect(middle('short', 15)).toBe('short')
  })
  test('no character is torn apart', () => {
    const flags = '🇩🇪🇫🇷🇮🇹🇪🇸🇵🇱🇳🇱'
    expect(middle(flags, 4)).toBe('🇩🇪…🇵🇱🇳🇱')
  })
  test('is never longer than asked for', () => {
    for (let max = 3; max < 30; max++) expect(middle('x'.repeat(100), max).length).toBeLessThanOrEqual(max)
  })
})

describe('a word for the shell', () => {
  test.each([
    ['shop.public.orders', 'shop.public.orders'],
    ['orders → warehouse', "'orders → warehouse'"],
    ["it's", `'it'\\''s'`],
    ['$(rm -rf /)', "'$(rm -rf /)'"],
    ['', "''"],
    ['a\nb', "$'a\\x0ab'"],
    ['-rf', '-rf'],
  ])('%j becomes %s', (text, word) => expect(shellWord(text)).toBe(word))
})
