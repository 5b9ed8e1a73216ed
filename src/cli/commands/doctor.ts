/**
 * `peel doctor`: what this host has and lacks for peel, and with IMAGE how its registry behaves. One check is
 * one line; what is missing says what to do. Exit status 1 when something fails.
 */
import { defineCommand } from '../command.ts';
import { type CheckResult, checkHost } from '../doctor-host.ts';
import { checkImage } from '../doctor-image.ts';
import { EntryWriter } from '../json-output.ts';
import { quoteText } from '../quote.ts';

const WIDTH = 12;

export const doctor = defineCommand({
  name: 'doctor',
  summary: 'check what this host has, and how a registry behaves',
  usage: ['[IMAGE]'],
  details: [
    'With IMAGE: where the credentials come from, TLS, redirects, and whether ranges are served. Reads the manifest and one byte of a layer.',
  ],
  options: {},
  minArgs: 0,
  maxArgs: 1,
  async run(context) {
    const [name] = context.args;
    const results: CheckResult[] = [...(await checkHost(context))];
    if (name !== undefined) results.push(...(await checkImage(context, name)));
    if (context.settings.format === 'table') {
      for (const { status, name: check, found } of results) {
        await context.stdout.write(`${status.padEnd(5)} ${check.padEnd(WIDTH)} ${quoteText(found)}\n`);
      }
    } else {
      const writer = new EntryWriter(context, 'checks');
      for (const result of results) await writer.write(result);
      await writer.end();
    }
    return results.some((result) => result.status === 'fail') ? 1 : 0;
  },
});
