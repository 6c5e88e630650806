// Checks src/styles/tokens.css: WCAG 2.2 contrast of the pairs below in both themes, that the states differ for the
// colour blind, and that no component names a raw colour. With --table prints what it found. Exit 1 on a failure.
import { readdirSync, readFileSync } from 'node:fs'

const root = new URL('../src/', import.meta.url)
const css = readFileSync(new URL('styles/tokens.css', root), 'utf8')
const themes = [{}, {}]
for (const [, name, light, dark] of css.matchAll(/--([\w-]+):\s*light-dark\(\s*(#[0-9a-f]{6})\s*,\s*(#[0-9a-f]{6})\s*\)/gi)) {
  themes[0][name] = light
  themes[1][name] = dark
}

const text = 4.5
const mark = 3
const pairs = [
  ['ink', ['paper', 'paper-2', 'paper-3', 'float', 'water-wash', 'bad-wash', 'warn-wash', 'prod-wash'], text],
  ['ink-2', ['paper', 'paper-2', 'paper-3', 'float', 'water-wash', 'bad-wash'], text],
  ['ink-3', ['paper', 'paper-2', 'paper-3', 'float', 'water-wash'], text],
  ['water', ['paper', 'paper-2', 'paper-3', 'float', 'water-wash'], text],
  ['on-water', ['water', 'water-2'], text],
  ['good', ['paper', 'paper-2', 'paper-3', 'float', 'water-wash'], text],
  ['warn', ['paper', 'paper-2', 'float', 'warn-wash', 'water-wash'], text],
  ['bad', ['paper', 'paper-2', 'paper-3', 'float', 'bad-wash', 'water-wash'], text],
  ['unknown', ['paper', 'paper-2', 'float'], text],
  ['prod', ['paper', 'prod-wash'], text],
  ['staging', ['paper', 'paper-3'], text],
  ['ink', ['add-wash', 'del-wash'], text],
  ['ink-3', ['add-wash', 'del-wash'], text],
  ['add', ['paper', 'add-wash'], text],
  ['del', ['paper', 'del-wash'], text],
  ['syn-key', ['paper', 'add-wash', 'del-wash', 'paper-2'], text],
  ['syn-str', ['paper', 'add-wash', 'del-wash', 'paper-2'], text],
  ['syn-num', ['paper', 'add-wash', 'del-wash', 'paper-2'], text],
  ['syn-kw', ['paper', 'add-wash', 'del-wash', 'paper-2'], text],
  ['line-3', ['paper', 'paper-2', 'float'], mark],
  ['series', ['paper', 'paper-2', 'bad-wash'], mark],
  ...['c1', 'c2', 'c3', 'c4', 'c5', 'c6'].map((c) => [c, ['paper'], mark]),
  ['good', ['good-wash'], text],
  ['unknown', ['unknown-wash'], text],
  ...['syn-key', 'syn-str', 'syn-num', 'syn-kw'].map((c) => [c, ['water-wash'], text]),
]

const channels = (hex) => [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16) / 255)
const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
const luminance = (hex) => {
  const [r, g, b] = channels(hex).map(linear)
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
const contrast = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)]
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05)
}

// Dichromacy at full strength, in linear light (Machado, Oliveira, Fernandes 2009); the distance is Euclidean in OKLab.
const sight = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protan: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deutan: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritan: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
}
const apply = (m, v) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
const oklab = (rgb) => {
  const lms = apply(
    [
      [0.4122214708, 0.5363325363, 0.0514459929],
      [0.2119034982, 0.6806995451, 0.1073969566],
      [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    rgb,
  )
  return apply(
    [
      [0.2104542553, 0.793617785, -0.0040720468],
      [1.9779984951, -2.428592205, 0.4505937099],
      [0.0259040371, 0.7827717662, -0.808675766],
    ],
    lms.map((x) => Math.cbrt(Math.max(0, x))),
  )
}
const distance = (a, b, m) => {
  const [p, q] = [a, b].map((hex) => oklab(apply(m, channels(hex).map(linear)).map((x) => Math.min(1, Math.max(0, x)))))
  return Math.hypot(p[0] - q[0], p[1] - q[1], p[2] - q[2])
}
const apart = 0.04

const failures = []
const table = ['| fore on back | needs | light | dark |', '|---|---|---|---|']
for (const [fore, backs, needs] of pairs) {
  for (const back of backs) {
    const ratios = themes.map((t) => (t[fore] && t[back] ? contrast(t[fore], t[back]) : 0))
    table.push(`| ${fore} on ${back} | ${needs} | ${ratios.map((r) => r.toFixed(2)).join(' | ')} |`)
    ratios.forEach((r, i) => {
      if (r < needs) failures.push(`${fore} on ${back}, ${['light', 'dark'][i]}: ${r.toFixed(2)}, needs ${needs}`)
    })
  }
}
table.push('', '| least distance of states (OKLab) | light | dark |', '|---|---|---|')
for (const [name, m] of Object.entries(sight)) {
  const least = themes.map((t) =>
    Math.min(
      ...[
        ['good', 'warn'],
        ['good', 'bad'],
        ['warn', 'bad'],
      ].map(([a, b]) => distance(t[a], t[b], m)),
    ),
  )
  table.push(`| ${name} | ${least.map((d) => d.toFixed(3)).join(' | ')} |`)
  least.forEach((d, i) => {
    if (d < apart) failures.push(`states, ${name}, ${['light', 'dark'][i]}: ${d.toFixed(3)} apart, need ${apart}`)
  })
}

// Series are told apart by sight alone where nothing but their line is there; their dashes and labels come on top.
const series = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6']
for (const [name, m] of Object.entries(sight)) {
  themes.forEach((t, i) => {
    const least = Math.min(...series.flatMap((a, k) => series.slice(k + 1).map((b) => distance(t[a], t[b], m))))
    if (least < apart) failures.push(`series, ${name}, ${['light', 'dark'][i]}: ${least.toFixed(3)} apart, need ${apart}`)
  })
}
// A heat map reads without hue: its steps get darker one by one, or lighter on dark paper.
themes.forEach((t, i) => {
  const steps = ['h0', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((h) => luminance(t[h]) * (i ? 1 : -1))
  if (steps.some((l, k) => k > 0 && l <= steps[k - 1])) failures.push(`heat, ${['light', 'dark'][i]}: its lightness is out of order`)
})

for (const name of readdirSync(root, { recursive: true })) {
  if (!/\.(svelte|css)$/.test(name) || name.endsWith('tokens.css')) continue
  const source = readFileSync(new URL(name, root), 'utf8')
  for (const [raw] of source.matchAll(/#[0-9a-f]{3,8}\b(?=\s*[;,)"'])|\b(?:rgb|hsl|oklch)a?\(/gi))
    failures.push(`${name}: raw colour ${raw}`)
  for (const [, used] of source.matchAll(/var\(--([\w-]+)/g)) {
    if (!css.includes(`--${used}:`) && !source.includes(`--${used}:`) && !source.includes(`style:--${used}`))
      failures.push(`${name}: no such token --${used}`)
  }
}

if (process.argv.includes('--table')) console.log(table.join('\n'))
for (const f of failures) console.error(f)
if (failures.length) process.exitCode = 1
else console.log(`contrast: ${pairs.reduce((n, p) => n + p[1].length, 0)} pairs hold in light and dark`)
