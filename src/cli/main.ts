#!/usr/bin/env node
/** The program `peel`: joins `run.ts` to this process. The only place that reads process.* and exits. */
import { rawArguments } from './raw-arguments.ts';
import { runCommandLine } from './run.ts';

function onInterrupt(callback: (signal: NodeJS.Signals) => void): () => void {
  process.on('SIGINT', callback);
  process.on('SIGTERM', callback);
  return () => {
    process.off('SIGINT', callback);
    process.off('SIGTERM', callback);
  };
}

const status = await runCommandLine({
  argv: rawArguments(process.argv.slice(2)),
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  onInterrupt,
  exit: (code) => process.exit(code),
});
// Everything is flushed and closed; a connection that lingers must not keep the user waiting.
process.exit(status);
