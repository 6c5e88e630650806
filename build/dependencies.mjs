// dependencies.mjs [--check | --texts]   writes docs/reference/dependencies.md: every module in the binary and every
// package in the page, with its licence. --check fails where the list is not what the code would give; --texts writes the
// licences themselves to its output, which whoever passes a program on must add to it.
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const target = 'docs/reference/dependencies.md'

// What a licence says of itself, most telling first.
const licences = [
  ['Apache-2.0', /Apache License\s+Version 2\.0/],
  ['MPL-2.0', /Mozilla Public License,? (Version|v\.) ?2\.0/i],
  ['GPL', /GNU (AFFERO |LESSER |LIBRARY )?GENERAL PUBLIC LICENSE/i],
  ['Unlicense', /This is free and unencumbered software/],
  ['CC0-1.0', /CC0 1\.0 Universal/],
  ['public domain', /have been put\s+into the public domain/],
  ['ISC', /Permission to use, copy, modify, and\/or distribute this software for any/],
  ['BSD-3-Clause', /Redistribution and use in source and binary forms[\s\S]*(Neither the names?|names? of .* may not|contributors may (not )?be used)/],
  ['BSD-2-Clause', /Redistribution and use in source and binary forms/],
  ['MIT', /Permission is hereby granted, free of charge, to any person/],
]

const licenceFile = (dir) => readdirSync(dir).find((f) => /^(licen[cs]e|copying|unlicense)/i.test(f))

function licenceOf(dir) {
  const file = licenceFile(dir)
  if (!file) return 'none found'
  const text = readFileSync(join(dir, file), 'utf8').replace(/[ \t]+/g, ' ')
  const found = licences.filter(([, pattern]) => pattern.test(text)).map(([name]) => name)
  // BSD-2-Clause is what BSD-3-Clause says as well.
  return found.filter((n) => n !== 'BSD-2-Clause' || !found.includes('BSD-3-Clause')).join(' and ') || 'not recognised'
}

// modules lists what one build of the binary links, on one platform so that the list is the same wherever it is made.
function modules(tags) {
  const out = execFileSync(
    'go',
    ['list', '-deps', `-tags=${tags}`, '-f', '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}', '.'],
    { env: { ...process.env, GOOS: 'linux', GOARCH: 'amd64', CGO_ENABLED: '1' }, encoding: 'utf8', maxBuffer: 1 << 26 },
  )
  return [...new Set(out.trim().split('\n').filter(Boolean))].sort().map((line) => {
    const [name, version, dir] = line.split(' ')
    return { name, version, licence: licenceOf(dir), dir }
  })
}

// page lists the packages that the page imports, and what those need in turn.
function page() {
  const lock = JSON.parse(readFileSync('frontend/package-lock.json', 'utf8')).packages
  const used = new Set()
  const visit = (name) => {
    const entry = lock[`node_modules/${name}`]
    if (!entry || used.has(name)) return
    used.add(name)
    if (name !== 'svelte') for (const dependency of Object.keys(entry.dependencies ?? {})) visit(dependency) // svelte's are its compiler's
  }
  const walk = (dir) => {
    for (const e of readdirSync(dir, { withFileTypes: true })) {
      if (e.isDirectory()) walk(join(dir, e.name))
      else if (/\.(ts|svelte|css)$/.test(e.name) && !/\.test\.ts$/.test(e.name)) {
        const text = readFileSync(join(dir, e.name), 'utf8')
        for (const [, spec] of text.matchAll(/(?:from|import)\s*\(?\s*['"]([^'".][^'"]*)['"]/g)) {
          visit(spec.split('/').slice(0, spec.startsWith('@') ? 2 : 1).join('/'))
        }
      }
    }
  }
  walk('frontend/src')
  return [...used].sort().map((name) => {
    const entry = lock[`node_modules/${name}`]
    return { name, version: entry.version, licence: entry.license ?? 'none found', dir: `frontend/node_modules/${name}` }
  })
}

const table = (rows) =>
  ['| name | version | licence |', '|---|---|---|', ...rows.map((r) => `| ${r.name} | ${r.version} | ${r.licence} |`), ''].join('\n')

const server = modules('')
const names = new Set(server.map((m) => m.name))
const window = modules('desktop,production,webkit2_41').filter((m) => !names.has(m.name))
const text = `# What the program is made of

Made by \`make generate\` from what is linked and imported (Linux, amd64). CI fails where this list and the code differ:
a new dependency is a line to be reviewed.

## bin/freshet

${table(server)}
SQLite itself, which mattn/go-sqlite3 carries, is in the public domain.

## bin/freshet-desktop, beyond those

${table(window)}
## The page

${table(page())}`

const refused = [...server, ...window, ...page()].filter((m) => /GPL|none found|not recognised/.test(m.licence))
if (refused.length) {
  console.error(`dependencies: not with these licences: ${refused.map((m) => `${m.name} (${m.licence})`).join(', ')}`)
  process.exit(1)
}
if (process.argv.includes('--texts')) {
  for (const m of [...server, ...window, ...page()]) {
    const file = licenceFile(m.dir)
    const said = file ? readFileSync(join(m.dir, file), 'utf8') : `${m.licence}\n`
    process.stdout.write(`${'='.repeat(78)}\n${m.name} ${m.version}\n${'='.repeat(78)}\n\n${said.trimEnd()}\n\n`)
  }
} else if (!process.argv.includes('--check')) {
  writeFileSync(target, text)
} else if (!existsSync(target) || readFileSync(target, 'utf8') !== text) {
  console.error(`dependencies: ${target} is not what the code has: run \`make generate\` and look at what changed`)
  process.exit(1)
}
