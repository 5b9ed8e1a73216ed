// Loaded into the server of a mount by NODE_OPTIONS: how long its event loop keeps others waiting. The first SIGUSR2
// begins to measure, the second writes the figures to the file that BENCH_LOOP_DELAY names.
import { renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Of the timer that is watched. What is recorded is the time between two turns of it, so this is taken off. */
const RESOLUTION_MS = 1;

const file = process.env.BENCH_LOOP_DELAY;
const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
let isMeasuring = false;

process.on('SIGUSR2', () => {
  if (!isMeasuring) {
    histogram.enable();
    histogram.reset();
    isMeasuring = true;
    return;
  }
  histogram.disable();
  const ms = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const figures = {
    p50: ms(histogram.percentile(50)),
    p99: ms(histogram.percentile(99)),
    p999: ms(histogram.percentile(99.9)),
    max: ms(histogram.max),
    samples: histogram.count,
  };
  // Whole or not there.
  writeFileSync(`${file}.part`, JSON.stringify(figures));
  renameSync(`${file}.part`, file);
});
