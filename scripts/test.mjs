// `npm test [-- FILES]`: all tests, ending with the line `N passed, N failed` from the runner's own report.
import { prepareTests, runTests } from './run-tests.mjs';

prepareTests();
process.exit(runTests(process.argv.slice(2)).isGreen ? 0 : 1);
