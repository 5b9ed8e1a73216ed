import { defineConfig } from 'vitest/config';

// One project: every test file runs in a process of its own (`forks`), because native code and mounts
// must not take the other tests down with them.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    globalSetup: ['test/support/global-setup.ts'],
    reporters: process.env['CI'] ? ['default'] : ['default'],
  },
});
