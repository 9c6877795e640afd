import { RESULT } from './report.js';
console.log(RESULT + JSON.stringify({summary: process.versions.node, failure: null}));
