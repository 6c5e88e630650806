// Runs before the first paint, so that a chosen theme does not flash. The policy forbids inline script, hence a file.
try {
  const theme = localStorage.getItem('freshet.theme')
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme
} catch {
  // No storage: the system's theme it is.
}
