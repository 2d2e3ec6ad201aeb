// Runs the guide's Node.js class word for word (it is read out of the guide), with axios from npm, against argv[2].
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import vm from "node:vm";

const require = createRequire(import.meta.url);
const [, , base, guide] = process.argv;
const source = readFileSync(guide, "utf8").split("## Integration Example (Node.js)")[1].match(/```javascript\n([\s\S]*?)```/)[1];
const [theClass, usage] = source.replace("http://34.46.174.78", base).split("// Usage");
// The usage has awaits at the top level, so it runs in an async function; the guide's waits between its calls are the user's.
const script = `${theClass}\n(async () => { ${usage}\n return { session, status: await manager.getStatus(session.uuid).catch((e) => e.response.status) }; })()`;
const result = await vm.runInNewContext(script, { require, console, process });
console.log(JSON.stringify(result));
