/** What Kafka would refuse in a topic's name; '' where nothing is wrong, or nothing is there yet. */
export function wrongName(name: string): string {
  if (name === '') return ''
  if (name === '.' || name === '..') return 'not a dot or two alone'
  if (name.length > 249) return 'at most 249 characters'
  return /^[A-Za-z0-9._-]+$/.test(name) ? '' : 'letters, digits, dots, underscores and hyphens only'
}
