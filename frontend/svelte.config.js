import { vitePreprocess } from '@sveltejs/vite-plugin-svelte'

export default {
  preprocess: vitePreprocess(),
  compilerOptions: {
    runes: true,
    // Elements are made one by one, never from a string of HTML: Trusted Types hold without a policy.
    fragments: 'tree',
  },
}
