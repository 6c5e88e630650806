// Runs before the first paint, so that a chosen theme does not flash. The policy forbids inline script, hence a file.
try {
  const theme = localStorage.getItem('freshet.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // No storage: the system's theme it is.
}

// WebKit calls the language of a system without one (LANG=C.UTF-8) "C", which Intl refuses, and the page with it.
try {
  Intl.getCanonicalLocales(navigator.language)
} catch {
  Object.defineProperty(navigator, 'language', { value: 'en' })
}
