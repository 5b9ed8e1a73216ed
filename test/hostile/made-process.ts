/**
 * Puts the hostile inputs made by hand to their readers, in a process of its own: node made-process.js. A line of JSON
 * for each, `[set, name, outcome]`, and one of what they cost. One that ends in neither a result nor a documented
 * error ends the process, and has no line.
 */
import { MADE_SETS } from './made/made-sets.ts';
import { Watch } from './watch.ts';

const watch = new Watch();
const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
watch.begin();
for (const [set, cases] of Object.entries(MADE_SETS))
  for (const { name, form, bytes } of cases)
    say([set, name, await watch.outcomeOf(form, bytes, `${set}: ${name}`)]);
say(watch.end());
