// Three hundred texts that do harm where they are taken for something else than text. What runs sets window.harmed.

const harm = 'window.harmed=1'

const markup = [
  `<img src=x onerror=${harm}>`,
  `<script>${harm}</script>`,
  `"><svg onload=${harm}>`,
  `'><body onpageshow=${harm}>`,
  `<a href="javascript:${harm}">open</a>`,
  `<iframe srcdoc="<script>parent.harmed=1</script>"></iframe>`,
  `<style>*{display:none!important}</style>`,
  `<!-- <b>`,
  `]]><x>`,
  `&lt;b&gt;&amp;&#x41;`,
  `<math><mi xlink:href="javascript:${harm}">`,
  `<form action=//example.org><input name=q>`,
  `<base href=//example.org>`,
  `<meta http-equiv=refresh content=0>`,
]
const code = [
  `{{constructor.constructor('${harm}')()}}`,
  `\${${harm}}`,
  `javascript:${harm}`,
  `data:text/html,<script>${harm}</script>`,
  `'; DROP TABLE orders; --`,
  `$(touch harmed)`,
  '`touch harmed`',
  `=HYPERLINK("http://example.org")`,
  `../../../etc/passwd`,
  `%2e%2e%2f%00`,
  `__proto__`,
  `constructor`,
  `toString`,
  `hasOwnProperty`,
  `undefined`,
  `null`,
  `NaN`,
  `-0`,
  `true`,
]
const numbers = [
  '9007199254740993',
  '9223372036854775807',
  '-9223372036854775808',
  '18446744073709551616',
  '12345678901234567.890123456789012345',
  '0.1000',
  '1e400',
  '1E-400',
  '0x10',
  '00012',
  '1_000',
  '١٢٣',
]
const writing = [
  'a\u202egnp.exe',
  '\u2066isolate\u2069',
  'עברית and العربية together',
  'مرحبا',
  '\u200fright',
  'zero\u200bwidth\u200djoined\u2060word',
  '\ufeffmark',
  'e\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308\u0309\u030a',
  'ẓ̶̛͓̦͎̥̮͚̘͔̩̻̲̃̈́̑̎a̷̢̨̧̛̖̯̗̘̗̲̝͛̈́̽̓l̵̢̛̛̲̬̩̳̭͋̓̈́g̷̢̯̣̻̋̋̌o̴̡̗̖͋̈́̑̍̽',
  '👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪',
  '漢字かなカナ한글',
  'ﷺ﷽',
  'раураl', // Cyrillic
  'ＦＵＬＬ　ＷＩＤＴＨ',
  'ǅ ŉ ß ﬀ İ ı',
  '\u00a0\u2003 spaces \u3000',
  '\u001b[31mred\u001b[0m',
  'bell\u0007 back\u0008space',
  'unit\u001fseparator',
  '\u0085next',
  '\u2028line\u2029paragraph',
  '\u{e0041}\u{e0042}tags',
  '\u{f0000}private',
  '\u{1d400}\u{1d401} 𝕏',
]
const long = [
  'x'.repeat(10_000),
  'many words '.repeat(900),
  '漢'.repeat(3000),
  '👨‍👩‍👧'.repeat(400),
  `${'very.long.'.repeat(990)}end`,
  'a/'.repeat(4000),
  `<b>${'&'.repeat(5000)}</b>`,
  '-'.repeat(2000),
]

const base = [...markup, ...code, ...numbers, ...writing, ...long]

/** Each of them differs: where the list is used up, it begins again within other texts. */
export const hostile: readonly string[] = Array.from({ length: 300 }, (_, i) => {
  const text = base[i % base.length] ?? ''
  return [text, `row ${i} ${text}`, `${text} ${i}`, `"${text}" '${i}'`][Math.floor(i / base.length)] ?? text
})
