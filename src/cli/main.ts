#!/usr/bin/env node
/** The program `peel`: joins `run.ts` to this process. The only place that reads process.* and exits. */
import { rawArguments } from './raw-arguments.ts';
import { runCommandLine } from './run.ts';

const status = await runCommandLine({
  argv: rawArguments(process.argv.slice(2)),
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  signals: process,
  exit: (code) => process.exit(code),
});
// Everything is flushed and closed; a connection that lingers must not keep the user waiting.
process.exit(status);
