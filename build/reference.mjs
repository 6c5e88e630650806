// reference.mjs   writes the pages of docs/reference that come from the page's and the API's own tables: its keys, its routes.
import { readFileSync, writeFileSync } from 'node:fs'

const root = new URL('../', import.meta.url)
const read = (path) => JSON.parse(readFileSync(new URL(path, root), 'utf8'))
const write = (path, lines) => writeFileSync(new URL(path, root), `${lines.join('\n')}\n`)
const cell = (text) => text.replaceAll('|', '\\|').replace(/\s+/g, ' ').trim()

const commands = read('frontend/commands.json')
const keyed = (c) => c.keys.map((keys) => keys.map((k) => `<kbd>${k.replace('Mod+k', 'Ctrl K')}</kbd>`).join(' ')).join(' or ')
const pages = [
  '# Keys',
  '',
  'Generated from `frontend/commands.json`; do not edit.',
  '',
  'The palette (<kbd>Ctrl K</kbd>, on a Mac <kbd>⌘K</kbd>) finds every screen, topic, group, source, sink, saved view and command by its',
  'name. <kbd>?</kbd> shows the keys that do something where you are. Single letters can be turned off there; they do nothing while you type.',
]
for (const group of [...new Set(commands.map((c) => c.group))]) {
  pages.push('', `## ${group}`, '', '| keys | do |', '|---|---|')
  for (const c of commands.filter((c) => c.group === group)) pages.push(`| ${keyed(c)} | ${cell(c.words)}${c.menu ? ` (menu ${c.menu} in the window)` : ''} |`)
}
write('docs/reference/keys.md', pages)

const { paths } = read('frontend/openapi.json')
const routes = [
  '# Routes',
  '',
  'Generated from the API’s description, `frontend/openapi.json`, which is generated from the server’s types; do not edit.',
  '',
  'A browser shows its session, the command line its socket or token, a script `Authorization: Bearer TOKEN`. Whatever is no GET carries',
  '`X-Freshet: 1`. Errors are `{"v":1,"kind":"error","exit":N,"code":"…","message":"…","hint":"…"}`.',
  '',
  '| route | tells, or does | asked by |',
  '|---|---|---|',
]
for (const [path, methods] of Object.entries(paths).sort())
  for (const [method, op] of Object.entries(methods)) {
    const asked = (op.parameters ?? []).filter((p) => p.in === 'query').map((p) => `\`${p.name}\``)
    routes.push(`| \`${method.toUpperCase()} ${path}\` | ${cell(op.summary ?? '')} | ${asked.join(' ')} |`)
  }
write('docs/reference/routes.md', routes)
